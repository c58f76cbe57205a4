"""A merchant with half the traffic, and millions of cards that come once: latency and memory stay bounded.

usage: python -m tests.benchmarks.cardinality [--cards N]

The hot merchant: payments of which every other one is at one merchant, against payments evenly at all; the two sides take turns,
batch by batch. Cards that come once, each on a device that comes once: windows, `remember` and `label_horizon` of a day, so that a
card is forgotten some four days after it came; the stream takes twenty days, however many cards there are, and is looked at as it
goes. Ten million cards take half an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from features.catalogue import DAY_US
from features.events import Transaction
from features.redis_store import RedisFeatureStore
from tests.benchmarks.features import SUMS
from tests.benchmarks.meters import Meter, load, say, table, valkey
from tests.benchmarks.payments import BEGIN, ENTITIES, Population, features_of

BATCH = 256
PEOPLE = {"cards": 2_000, "merchants": 500, "devices": 2_000, "a_day": 5_000}
PAST, ROUNDS = 60_000, 150
SPAN, LOOKS = 20, 10
"""Days of the cards that come once, and how often the server is looked at."""

OF_A_DAY = [f"{kind} by {entity} over 1h 1d" for entity in ENTITIES for kind in ("count", "sum amount")]
MERCHANTS = 500


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, default=300_000, help="that come once")
    cards = parser.parse_args().cards
    say(f"a merchant with half the traffic, thirty features, batches of {BATCH}; {load()}")
    table(("", "p50 ms", "p99 ms", "server's CPU us an event", "MB at the end", "bytes an event"), hot())
    say()
    say(f"{cards:,} cards and devices that come once, in {SPAN} days; batches of {BATCH}; {load()}")
    once(cards)


class Timed:
    """A store, and how long its batches took."""

    def __init__(self, url: str, lines: Sequence[str], **bounds: int) -> None:
        self._store = RedisFeatureStore(url, features_of(lines, **bounds), prefix="weir", hash_key=b"key")
        self.meter = Meter(url)
        self._milliseconds: list[float] = []
        self._server = 0.0

    def fill(self, events: Sequence[Transaction]) -> None:
        """Without being timed."""
        for at in range(0, len(events), BATCH):
            self._store.apply(events[at : at + BATCH])

    def apply(self, events: Sequence[Transaction]) -> None:
        """One batch."""
        spent = self.meter.spent(lambda: self._store.apply(events))
        self._milliseconds.append(spent.wall / 1000)
        self._server += spent.server

    def told(self) -> tuple[str, str, str]:
        """p50 and p99 of a batch in milliseconds and the server's CPU an event, of what was applied since the last time."""
        took = sorted(self._milliseconds)
        each = self._server / (len(took) * BATCH)
        self._milliseconds, self._server = [], 0.0
        return f"{took[len(took) // 2]:.1f}", f"{took[len(took) * 99 // 100]:.1f}", f"{each:.1f}"


def hot() -> list[tuple[str, ...]]:
    """Rows for even traffic and for the hot merchant, and their ratio."""
    with valkey() as one, valkey() as other:
        sides = [Timed(url, SUMS) for url in (one, other)]
        streams = [Population(**PEOPLE), Population(**PEOPLE)]
        makers: list[Callable[[int], list[Transaction]]] = [
            streams[0].payments,
            lambda count: half(streams[1], count),
        ]
        for side, make in zip(sides, makers, strict=True):
            side.fill(make(PAST))
        for _ in range(ROUNDS):
            for side, make in zip(sides, makers, strict=True):
                side.apply(make(BATCH))
        rows = [side.told() for side in sides]
        memory = [side.meter.memory() for side in sides]
    events = PAST + ROUNDS * BATCH
    told = [
        (*row, f"{held / 1e6:.1f}", f"{held / events:.0f}") for row, held in zip(rows, memory, strict=True)
    ]
    ratios = [f"{float(two) / float(each):.2f}" for each, two in zip(*told, strict=True)]
    return [("evenly", *told[0]), ("half at one", *told[1]), ("ratio", *ratios)]


def half(people: Population, count: int) -> list[Transaction]:
    """Payments, every other one at one merchant."""
    return [people.payment(**({"merchant": "hot"} if at % 2 else {})) for at in range(count)]


def once(cards: int) -> None:
    """A line now and then, as the days go."""
    with valkey(appendonly="no") as url:
        side = Timed(url, OF_A_DAY, remember_us=DAY_US, label_horizon_us=DAY_US)
        batches = range(0, cards // BATCH * BATCH, BATCH)
        for number, first in enumerate(batches, start=1):
            side.apply([single(at, cards) for at in range(first, first + BATCH)])
            if number * LOOKS // len(batches) > (number - 1) * LOOKS // len(batches):
                day, (p50, p99, server) = SPAN * number / len(batches), side.told()
                say(
                    f"day {day:2.0f}: {number * BATCH:10,} cards so far, p50 {p50:>5} ms, p99 {p99:>5} ms a batch, "
                    f"{server} us of the server's CPU an event, {side.meter.memory() / 1e6:,.1f} MB"
                )


def single(number: int, cards: int) -> Transaction:
    """The payment of a card that comes once."""
    at = BEGIN + SPAN * DAY_US * number // cards
    entities = f"c{number}", f"m{number * 7919 % MERCHANTS}", f"d{number}"
    return Transaction(
        f"e{number}", at, at, 1000 + number % 977, "EUR", entities, {}, number.to_bytes(8, "big")
    )


if __name__ == "__main__":
    main()
