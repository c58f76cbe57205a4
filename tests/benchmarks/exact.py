"""Are the features exact: every feature of both stores against an oracle, on a million events, to the bit.

usage: python -m tests.benchmarks.exact [--events N] [--seed N] [--features]

Features of every kind of the catalogue, over three entities; events out of order, of equal times, late within `remember` and
beyond it, ahead of their arrival, repeated, and with another body; labels early, late, repeated and taken back. The oracle
(tests/contract/matrices.py) shares no code with the stores: it has a row for each event and a column for each record of its entity.
Statuses, numbers and the mark `approximate` are compared too. Ends with status 1 where anything differs.

A million events take about an hour; `--features` lists every feature, else they are added up by kind.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from features.events import Event
from features.redis_store import RedisFeatureStore
from features.store import FeatureStore, InMemoryFeatureStore
from tests.benchmarks.meters import say, table, valkey
from tests.contract.exactness import Compared
from tests.contract.matrices import Matrices
from tests.contract.torrents import Torrent, every_kind

BATCH = 500
PIECE = 100_000
"""Events of one schedule: a million are ten of them, each of another seed, each for stores that are empty."""

FEATURES = every_kind()


def main() -> None:
    """Print what was compared, and what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=PIECE)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--features", action="store_true", help="list every feature")
    options = parser.parse_args()
    totals = {"in memory": Total(), "in Valkey": Total()}
    statuses: Counter[str] = Counter()
    for piece, done in enumerate(range(0, options.events, PIECE)):
        items = Torrent(options.seed + piece).items(min(PIECE, options.events - done))
        began = time.perf_counter()
        expected = Matrices(FEATURES, items)
        statuses.update(str(each) for each in expected.statuses)
        say(
            f"{done:,} events compared; {len(items):,} more in {time.perf_counter() - began:.0f} s by matrices"
        )
        totals["in memory"].add(compared(InMemoryFeatureStore(FEATURES), expected, items))
        with valkey(appendonly="no") as url:
            store = RedisFeatureStore(url, FEATURES, prefix="exact", hash_key=b"key")
            totals["in Valkey"].add(compared(store, expected, items))
    report(totals, statuses, options.features)
    sys.exit(any(each.mismatches.total() for each in totals.values()))


def compared(store: FeatureStore, expected: Matrices, items: Sequence[Event]) -> Compared:
    """What a store answers, beside what is expected."""
    differences = Compared(FEATURES, expected)
    for at in range(0, len(items), BATCH):
        differences.take(store.apply(items[at : at + BATCH]))
    store.close()
    return differences


class Total:
    """Several comparisons, added up."""

    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.known: Counter[str] = Counter()
        self.mismatches: Counter[str] = Counter()

    def add(self, more: Compared) -> None:
        """One more."""
        self.compared += more.compared
        self.known += more.known
        self.mismatches += more.mismatches


def report(totals: dict[str, Total], statuses: Counter[str], every: bool) -> None:
    """A line for each kind, or each feature, and the sums."""
    say(f"items: {', '.join(f'{count:,} {status}' for status, count in statuses.most_common())}")
    kinds = {each.name: each.name if every else str(each.kind) for each in FEATURES.features}
    first = next(iter(totals.values()))
    named = dict.fromkeys(kinds.get(name, name) for name in first.compared)
    rows = []
    for what in named:
        names = [name for name in first.compared if kinds.get(name, name) == what]
        figures = [sum(each[name] for name in names) for each in (first.compared, first.known)]
        wrong = [sum(each.mismatches[name] for name in names) for each in totals.values()]
        rows.append((what, len(names), *(f"{each:,}" for each in (*figures, *wrong))))
    table(("", "features", "values", "numbers", *(f"wrong {where}" for where in totals)), rows)
    for where, each in totals.items():
        values = sum(each.compared[name] for name in kinds)
        say(f"{where}: {values:,} values of {len(kinds)} features, {each.mismatches.total():,} mismatches")
    for name, count in sum((each.mismatches for each in totals.values()), Counter[str]()).most_common(20):
        say(f"differs: {name} {count:,} times")


if __name__ == "__main__":
    main()
