"""What a window's length, an entity's age and a late event cost, in Valkey and in memory.

usage: python -m tests.benchmarks.windows [--past N] [--server BINARY]

Events in order: with windows of a year against windows of a minute, on the same events, for so long that they leave those of a
year too; at a card with many past events (`--past 900000`: with what is measured, a million) against cards with ten. Out of order:
by how many records lie behind the place of the late one. The two sides of a ratio take turns round by round, the ratio is the
median of the rounds'; what is compared is CPU time, of the server or of this process. `--server redis-server` measures another
server than ours: one with jemalloc, as most are built.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from statistics import median

import msgspec

from features.catalogue import FeatureSet
from features.compute import MAX_RECORDS
from features.events import Transaction
from features.grammar import duration_us
from features.redis_store import CALL, RedisFeatureStore
from features.store import FeatureStore, InMemoryFeatureStore
from tests.benchmarks.meters import Meter, load, redis_server, say, table, valkey
from tests.benchmarks.payments import ENTITIES, Population, features_of

YEARLY = {"cards": 100, "merchants": 25, "devices": 100, "a_day": 100}
FILLED_DAYS = 400
ROUNDS, CALLS = 40, 8
KINDS = ("count", "sum amount", "mean amount")
OF_A_CARD = [f"{kind} by card over 1y" for kind in KINDS]
EXPIRING = [f"{kind} by card over 1h 30d 1y" for kind in KINDS]
MIXED = [f"{kind} by card over 1y" for kind in ("std amount", "max amount", "distinct merchant")]
BEHIND = (0, 10, 100, 1_000, 10_000, 100_000)
OLD = "old"
LATE = 9  # events of each distance

Round = tuple[Sequence[Transaction], Sequence[Transaction]]
"""What the two sides of a comparison apply."""

Server = Callable[[], AbstractContextManager[str]]
"""A maker of servers: the URL of an empty one, which ends with the block."""


def main() -> None:
    """Print the ratios and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--past", type=int, default=200_000, help="events of the old card")
    parser.add_argument("--server", help="a Redis or Valkey to measure instead of ours")
    told = parser.parse_args()
    past, server = told.past, partial(redis_server, told.server) if told.server else valkey
    say(f"microseconds of CPU an event in order, medians of {ROUNDS} rounds; {load()}")
    rows = [
        *lengths(server),
        *ages(past, OF_A_CARD, MAX_RECORDS, server),
        *ages(past, EXPIRING, 10_000, server),
    ]
    table(("", "the one", "the other", "ratio", "target"), rows)
    say()
    say(
        f"an event that comes late, by the records behind its place (of {past:,}), medians of {LATE}, microseconds"
    )
    table(
        ("records behind", "sums, Valkey", "sums, memory", "mixed, Valkey", "mixed, memory"),
        late(past, server),
    )


class Pair:
    """A store in Valkey and one in memory."""

    def __init__(self, url: str, features: FeatureSet) -> None:
        self._meter = Meter(url)
        self.stores: tuple[FeatureStore, ...] = (
            RedisFeatureStore(url, features, prefix="weir", hash_key=b"key"),
            InMemoryFeatureStore(features),
        )

    def fill(self, events: Sequence[Transaction]) -> None:
        """Apply to both."""
        for store in self.stores:
            applied(store, events, 500)

    def cost_of(self, event: Transaction) -> tuple[float, float]:
        """Of one event alone: in the script, since what surrounds a call costs as much, and of this process's CPU."""
        valkey, memory = self.stores
        server = self._meter.spent(lambda: valkey.apply([event])).commands
        began = time.process_time()
        memory.apply([event])
        return server, (time.process_time() - began) * 1e6

    def costs(self, events: Sequence[Transaction], size: int = CALL) -> tuple[float, float]:
        """Of an event: of the server's CPU, and of this process's for the store in memory."""
        valkey, memory = self.stores
        server = self._meter.spent(lambda: applied(valkey, events, size)).server
        began = time.process_time()
        applied(memory, events, size)
        return server / len(events), (time.process_time() - began) / len(events) * 1e6


def applied(store: FeatureStore, events: Sequence[Transaction], size: int) -> None:
    """In batches."""
    for at in range(0, len(events), size):
        store.apply(events[at : at + size])


def lengths(server: Server) -> Iterator[tuple[str, ...]]:
    """A minute's windows against a year's: rows of the table."""
    people = Population(**YEARLY)
    past = people.payments(FILLED_DAYS * YEARLY["a_day"])
    lines = (
        [f"{kind} by {entity} over {span}" for kind in KINDS for entity in ENTITIES] for span in ("1m", "1y")
    )
    with server() as one, server() as other:
        pairs = [Pair(url, features_of(each)) for url, each in zip((one, other), lines, strict=True)]
        for pair in pairs:
            pair.fill(past)
        rounds = (people.payments(CALLS * CALL) for _ in range(ROUNDS))
        yield from compared(
            "windows of 1 minute, of 1 year", pairs, ((part, part) for part in rounds), "1.05"
        )


def ages(past: int, lines: Sequence[str], records: int, server: Server) -> Iterator[tuple[str, ...]]:
    """Cards with ten past events against one with many: rows of the table."""
    people = within_a_year(past)
    with server() as url:
        pair = Pair(url, features_of(lines, records=records))
        for _ in range(past // 1000):
            pair.fill([people.payment(card=OLD) for _ in range(1000)])

        def rounds() -> Iterator[Round]:
            for number in range(ROUNDS):
                cards = [f"young{number}-{each}" for each in range(CALLS)]
                pair.fill([people.payment(card=card) for card in cards for _ in range(10)])
                young = [people.payment(card=card) for card in cards for _ in range(CALL)]
                yield young, [people.payment(card=OLD) for _ in range(CALLS * CALL)]

        stay = "all in one window" if records >= past else f"{records:,} stay"
        yield from compared(f"cards with 10 events, with {past:,} ({stay})", [pair, pair], rounds(), "1.1")


def within_a_year(past: int) -> Population:
    """A stream that has so many events, and those that are measured, within a year."""
    return Population(1, 1, 1, a_day=-(-(past + 3 * ROUNDS * CALLS * CALL) // 360))


def compared(
    what: str, pairs: Sequence[Pair], rounds: Iterator[Round], target: str
) -> Iterator[tuple[str, ...]]:
    """What the two sides cost, in turns: rows for Valkey and for memory."""
    costs = [[pair.costs(part) for pair, part in zip(pairs, each, strict=True)] for each in rounds]
    for index, where in enumerate(("Valkey", "memory")):
        ones, others = ([each[side][index] for each in costs] for side in (0, 1))
        ratio = median(other / one for one, other in zip(ones, others, strict=True))
        yield f"{what}; {where}", f"{median(ones):.2f}", f"{median(others):.2f}", f"{ratio:.3f}", target


def late(past: int, server: Server) -> list[tuple[str, ...]]:
    """Rows by how many records lie behind."""
    columns = []
    for lines in (OF_A_CARD, MIXED):
        people = within_a_year(past)
        with server() as url:
            pair = Pair(url, features_of(lines, records=MAX_RECORDS, remember_us=duration_us("1y")))
            events = [people.payment(card=OLD) for _ in range(past)]
            pair.fill(events)
            columns.append([behind(pair, people, events, many) for many in BEHIND])
    return [
        (f"{many:,}", *(f"{us:,.0f}" for each in column for us in each))
        for many, *column in zip(BEHIND, *columns, strict=True)
    ]


def behind(pair: Pair, people: Population, past: Sequence[Transaction], many: int) -> tuple[float, float]:
    """The cost of an event with so many records behind it."""
    costs = []
    for _ in range(LATE):
        event = people.payment(card=OLD)
        if many:
            event = msgspec.structs.replace(event, time_us=past[-many].time_us - 1)
        costs.append(pair.cost_of(event))
    server, process = zip(*costs, strict=True)
    return median(server), median(process)


if __name__ == "__main__":
    main()
