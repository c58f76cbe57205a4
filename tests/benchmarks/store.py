"""Features of a payment and its label: our stores against one Redis call per feature, in one run.

usage: python -m tests.benchmarks.store

The handbook's fifteen features, on payments of as many customers and terminals as make its windows as full. The
textbook side is `textbook.Features`: sorted sets, every call awaited; and the same calls in one pipeline per payment.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import redis
from redis.asyncio import Redis

from features.catalogue import FeatureSet
from features.events import Event, Label, Transaction, to_datetime
from features.grammar import Scope, parse_all
from features.redis_store import RedisFeatureStore
from features.store import InMemoryFeatureStore
from stream.embedded.server import ValkeyServer
from tests.benchmarks.textbook import DAY, Features
from tests.benchmarks.textbook import Transaction as Raw

ENTITIES = ("customer", "terminal")
DECLARED = (
    *("amount", "weekend", "night"),
    "count by customer over 1d 7d 30d",
    "mean amount by customer over 1d 7d 30d",
    "count by terminal over 1d 7d 30d",
    "risk by terminal over 1d 7d 30d",
)
DAYS, PER_DAY = 45, 480
CUSTOMERS, TERMINALS = 250, 500  # 1.9 and 1 payments a day, as in the handbook
ROUNDS, ROUND = 12, 250  # of the last items; those before fill the windows
DAY_US = DAY * 1_000_000
LABEL_DELAY_US = 7 * DAY_US

Way = Callable[[Sequence[Event]], object]
"""Applies some items."""


def main() -> None:
    """Print microseconds an item (a payment or a label) of every way, and the ratios."""
    features = FeatureSet(parse_all(DECLARED, Scope(ENTITIES)), ENTITIES)
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        server = ValkeyServer(Path(directory, "redis"))
        url = server.start()
        try:
            report(features, history(), url)
        finally:
            server.stop()


def report(features: FeatureSet, items: Sequence[Event], url: str) -> None:
    """Run every way on the same items, in turns: others' work on the machine slows all of them."""
    stores = InMemoryFeatureStore(features), RedisFeatureStore(url, features, prefix="ours", hash_key=b"key")
    awaited, pipelined = Textbook(f"{url}?db=1", items, Features), Textbook(f"{url}?db=2", items, Pipelined)
    past, rounds = (
        items[: -ROUNDS * ROUND],
        [items[len(items) - ROUND * left :][:ROUND] for left in range(ROUNDS, 0, -1)],
    )
    for store in stores:
        for start in range(0, len(past), 500):
            store.apply(past[start : start + 500])
    for textbook in (awaited, pipelined):
        textbook.fill(past)
    inside = Inside(url)
    spent = [
        [
            microseconds(way, part)
            for way in (stores[0].apply, stores[1].apply, pipelined.apply, awaited.apply)
        ]
        + [inside.microseconds()]
        for part in rounds
    ]
    memory, ours, one_pipeline, one_call, script = (median(each) for each in zip(*spent, strict=True))
    write = sys.stdout.write
    write(f"store in memory: {memory:.1f} us an item\n")
    write(f"store in Valkey: {ours:.1f} us an item, {script:.1f} of them in the script\n")
    write(f"textbook, one pipeline an item: {one_pipeline:.0f} us, {one_pipeline / ours:.1f} times ours\n")
    write(f"textbook, every call awaited: {one_call:.0f} us, {one_call / ours:.1f} times ours\n")


class Inside:
    """The time that a server spends in scripts."""

    def __init__(self, url: str) -> None:
        """Count from now on."""
        self._redis = redis.Redis.from_url(url)
        self._redis.config_resetstat()

    def microseconds(self) -> float:
        """Of an item of the round that ends here."""
        spent = self._redis.info("commandstats")["cmdstat_evalsha"]["usec"]
        self._redis.config_resetstat()
        return float(spent) / ROUND


def history() -> list[Event]:
    """Payments, and their labels a week later, in the order of arrival."""
    draw = random.Random(7)
    events: list[Event] = []
    for number in range(DAYS * PER_DAY):
        at = number * DAY_US // PER_DAY
        customer, terminal = f"c{draw.randrange(CUSTOMERS)}", f"t{draw.randrange(TERMINALS)}"
        body = number.to_bytes(8, "big")
        amount = draw.randrange(100, 20_000)
        events.append(
            Transaction(f"{number}", at, at, amount, "EUR", (customer, terminal), {}, body),
        )
        if at + LABEL_DELAY_US < DAYS * DAY_US:
            fraud = draw.random() < 0.01
            events.append(Label(f"l{number}", f"{number}", fraud, "benchmark", at + LABEL_DELAY_US))
    return sorted(events, key=lambda each: each.arrived_us)


def microseconds(way: Way, items: Sequence[Event]) -> float:
    """Of an item."""
    start = time.perf_counter()
    way(items)
    return (time.perf_counter() - start) / len(items) * 1e6


class Textbook:
    """One Redis call per feature, or one pipeline of them."""

    def __init__(self, url: str, items: Sequence[Event], kind: type[Features]) -> None:
        """Know the terminals of all payments, as the textbook's model does by then."""
        self._loop = asyncio.new_event_loop()
        self._redis = Redis.from_url(url)
        self._features = kind(self._redis)
        self._terminals = {
            each.event_id: each.entities[1][1:] for each in items if isinstance(each, Transaction)
        }

    def apply(self, items: Sequence[Event]) -> None:
        """Item by item."""
        self._loop.run_until_complete(self._apply(items))

    async def _apply(self, items: Sequence[Event]) -> None:
        for item in items:
            if isinstance(item, Label):
                terminal = int(self._terminals[item.event_id])
                await self._features.label(item.event_id, terminal, item.fraud, item.arrived_us / 1e6)
            else:
                await self._features.of(raw(item))

    def fill(self, items: Sequence[Event]) -> None:
        """The sorted sets, as they would be by now."""
        self._loop.run_until_complete(self._fill(items))

    async def _fill(self, items: Sequence[Event]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for item in items:
            at = item.arrived_us / 1e6
            if isinstance(item, Label):
                key = f"labels:terminal:{self._terminals[item.event_id]}"
                pipeline.zadd(key, {f"{item.event_id}:{int(item.fraud)}": at})
                continue
            customer, terminal = item.entities
            pipeline.zadd(f"customer:{customer[1:]}", {f"{item.event_id}:{item.amount / 100}": at})
            pipeline.zadd(f"terminal:{terminal[1:]}", {item.event_id: at})
        await pipeline.execute()


def raw(event: Transaction) -> Raw:
    """A payment as the textbook takes it."""
    customer, terminal = (int(each[1:]) for each in event.entities)
    when = to_datetime(event.time_us).replace(tzinfo=None).isoformat()
    return Raw(int(event.event_id), when, customer, terminal, event.amount / 100)


class Pipelined(Features):
    """The textbook's calls, all of a payment in one pipeline."""

    async def of(self, tx: Raw) -> dict[str, float]:
        """As the one that awaits every call."""
        calls = Recorder(self.redis.pipeline(transaction=False))
        await Features(calls).of(tx)  # type: ignore[arg-type]
        answers = await calls.pipeline.execute()
        return {
            f"{at}": float(len(each) if isinstance(each, list) else each) for at, each in enumerate(answers)
        }

    async def label(self, event_id: str, terminal: int, fraud: bool, at: float) -> None:
        """As the one that awaits every call."""
        calls = Recorder(self.redis.pipeline(transaction=False))
        await Features(calls).label(event_id, terminal, fraud, at)  # type: ignore[arg-type]
        await calls.pipeline.execute()


class Recorder:
    """Puts calls into a pipeline instead of awaiting their answers."""

    def __init__(self, pipeline: Any) -> None:
        """Collect in `pipeline`."""
        self.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            getattr(self.pipeline, name)(*args)
            return [] if name == "zrangebyscore" else 0

        return call


if __name__ == "__main__":
    main()
