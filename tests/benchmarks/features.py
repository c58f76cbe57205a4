"""Thirty windowed features of three entities: our store in Valkey, and the usual counters there, in one run.

usage: python -m tests.benchmarks.features [--rounds N]

Ours, for two sets of thirty: counts, sums and means over an hour to thirty days; and a mixture (spread, extremes,
different values, gaps, velocities, own mean). Beside them what is usual: a counter a bucket (INCRBY, EXPIRE, and MGET of the
buckets that a window holds), all of a batch in one pipeline, a pipeline an event, and every call awaited. Counters know a
window to the width of a bucket only, count what is redelivered twice, and give count, sum and mean alone.

The ways take turns, round by round, each on the same events; the figures are medians. "both CPUs" is this process's time and the
server's, which hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
from redis.asyncio import Redis

from features.catalogue import DAY_US, HOUR_US
from features.events import Transaction
from features.redis_store import RedisFeatureStore
from tests.benchmarks.meters import Meter, Spent, load, middle, say, table, valkey
from tests.benchmarks.payments import ENTITIES, Population, features_of

SUMS = [
    line.format(entity)
    for entity in ENTITIES
    for line in (
        "count by {} over 1h 1d 7d 30d",
        "sum amount by {} over 1h 1d 7d",
        "mean amount by {} over 1d 7d 30d",
    )
]
MIXED = [
    line.format(entity, "merchant" if entity != "merchant" else "card")
    for entity in ENTITIES
    for line in (
        "count by {} over 1h 1d",
        "mean amount by {} over 7d",
        "std amount by {} over 7d",
        "max amount by {} over 1d",
        "ratio of amount by {} over 30d",
        "zscore of amount by {} over 30d",
        "distinct {1} by {0} over 1d",
        "velocity by {} over 1h against 7d",
        "gap by {} over 1d",
    )
]
PEOPLE = {
    "cards": 1000,
    "merchants": 200,
    "devices": 800,
    "a_day": 2000,
}  # 2 payments a day and card, 10 a merchant
DAYS = 40
BATCH = 500
TARGET = 15_000
FILLED_AT_ONCE = 10_000

BUCKETS = {HOUR_US: HOUR_US // 12, DAY_US: HOUR_US, 7 * DAY_US: DAY_US // 4, 30 * DAY_US: DAY_US}
"""By window: the width of its buckets."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    with valkey() as url:
        people = Population(**PEOPLE)
        past = people.payments(DAYS * PEOPLE["a_day"])
        stores = [
            RedisFeatureStore(url, features_of(lines), prefix=name, hash_key=b"key")
            for name, lines in (("sums", SUMS), ("mixed", MIXED))
        ]
        for store in stores:
            for at in range(0, len(past), BATCH):
                store.apply(past[at : at + BATCH])
        counters = [Counters(f"{url}?db={number}", past) for number in (1, 2, 3)]
        ways: dict[str, tuple[Callable[[Sequence[Transaction]], object], int]] = {
            "ours, counts, sums and means": (stores[0].apply, BATCH),
            "ours, a mixture": (stores[1].apply, BATCH),
            "counters, one pipeline a batch": (counters[0].in_one, 100),
            "counters, a pipeline an event": (counters[1].by_event, 100),
            "counters, every call awaited": (counters[2].awaited, 20),
        }
        report(url, people, ways, rounds)


def report(
    url: str,
    people: Population,
    ways: dict[str, tuple[Callable[[Sequence[Transaction]], object], int]],
    rounds: int,
) -> None:
    """Let the ways take turns, and print what they took."""
    meter = Meter(url)
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(rounds):
        batch = people.payments(BATCH)
        for name, (way, size) in ways.items():
            part = batch[:size]
            spent[name].append(meter.spent(lambda way=way, part=part: way(part)).each(size))
    first = spent["ours, counts, sums and means"]
    ours, best = middle(first), min(each.cpu for each in first)
    rows = [row(name, middle(each), ours) for name, each in spent.items()]
    say(f"thirty windowed features of three entities; microseconds an event; {load()}")
    table(("", "events/s", "this process", "server's CPU", "in commands", "both CPUs", "times ours"), rows)
    say(
        f"target: {TARGET:,} events/s, {1e6 / TARGET:.0f} us. Both sides on one core, counts, sums and means:"
    )
    say(f"{1e6 / ours.cpu:,.0f}/s in the median round, {1e6 / best:,.0f}/s in the best")


def row(name: str, each: Spent, ours: Spent) -> tuple[str, ...]:
    """Of the table."""
    figures = (each.ours, each.server, each.commands, each.cpu)
    return (name, f"{each.rate:,.0f}", *(f"{us:.1f}" for us in figures), f"{each.cpu / ours.cpu:.1f}")


class Counters:
    """Counts and sums in buckets of time."""

    def __init__(self, url: str, past: Sequence[Transaction]) -> None:
        """With the buckets that are still read, as they would be by now."""
        self._redis = redis.Redis.from_url(url)
        self._loop, self._async = asyncio.new_event_loop(), Redis.from_url(url)
        filled: Counter[str] = Counter()
        oldest = past[-1].time_us - max(BUCKETS)
        for event in (each for each in past if each.time_us > oldest):
            for key, step in written(event):
                filled[key] += step
        pairs = list(filled.items())
        for at in range(0, len(pairs), FILLED_AT_ONCE):
            self._redis.mset(dict(pairs[at : at + FILLED_AT_ONCE]))

    def in_one(self, events: Sequence[Transaction]) -> list[Any]:
        """All of a batch in one pipeline."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for event in events:
                for name, arguments in commands(event):
                    getattr(pipeline, name)(*arguments)
            return totals(pipeline.execute())

    def by_event(self, events: Sequence[Transaction]) -> list[Any]:
        """A pipeline for each event: its features are needed before the next one is known."""
        return [self.in_one([event]) for event in events]

    def awaited(self, events: Sequence[Transaction]) -> None:
        """A round trip for each call."""
        self._loop.run_until_complete(self._awaited(events))

    async def _awaited(self, events: Sequence[Transaction]) -> None:
        for event in events:
            totals([await getattr(self._async, name)(*arguments) for name, arguments in commands(event)])


def totals(answers: Sequence[Any]) -> list[int]:
    """The sum of the buckets of each window."""
    return [sum(map(int, filter(None, each))) for each in answers if isinstance(each, list)]


def written(event: Transaction) -> Iterator[tuple[str, int]]:
    """The buckets that an event belongs to, and what it adds there."""
    for entity, value in zip(ENTITIES, event.entities, strict=True):
        for window, width in BUCKETS.items():
            yield f"count:{entity}:{value}:{window}:{event.time_us // width}", 1
            yield f"sum:{entity}:{value}:{window}:{event.time_us // width}", event.amount


def commands(event: Transaction) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What counts an event and reads its windows."""
    for key, step in written(event):
        what, entity, value, window, bucket = key.split(":")
        span = int(window) // BUCKETS[int(window)]
        yield "incrby", (key, step)
        yield "expire", (key, int(window) // 500_000)
        first = f"{what}:{entity}:{value}:{window}:"
        yield "mget", ([f"{first}{each}" for each in range(int(bucket) - span + 1, int(bucket) + 1)],)


if __name__ == "__main__":
    main()
