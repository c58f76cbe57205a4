"""How fast a feature store is there again: from the log, and from a snapshot, against the rate at which events are decided.

usage: python -m tests.benchmarks.rebuild [--cards N] [--each EVENTS] [--log EVENTS]

The same payments of the profile `handbook` lie on an embedded log: a real `weir worker --role score` decides them, then a real
`weir prime` fills a generation of other features from them. Beside that a store of many cards is made, a snapshot of it taken, the
server emptied, and the snapshot put back; a digest over all keys says whether what is there is the same.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import msgspec
import psutil

from features import redis_copy
from features.events import Transaction
from features.profile import SHIPPED, load
from features.redis_generations import RedisLive, generation_of
from features.redis_store import RedisFeatureStore
from features.store import Run, Source
from stream import snapshots
from stream.bootstrap import make_topics
from stream.config import Config
from stream.config import load as load_config
from stream.decisions import TRANSACTIONS
from stream.embedded.log import Log
from stream.embedded.server import ValkeyServer
from stream.filling import BATCH, Filler
from stream.records import ARRIVED, Outgoing
from tests.benchmarks.handbook import say

PROFILE = "handbook"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN_US = int(BEGIN.timestamp()) * 1_000_000
STEP_US = 500_000
TERMINALS = 5_000
PREFIX = redis_copy.prefix_of("weir:")


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, default=2, help="payments of a card in the snapshot")
    parser.add_argument("--log", type=int, default=100_000, help="payments on the log")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        live = from_the_log(Path(name), options.log)
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        from_a_snapshot(Path(name), options.cards, options.each, live)


def from_the_log(directory: Path, count: int) -> float:
    """Events a second that a worker decides; prints that, and how fast they are filled in."""
    config = config_at(directory)
    write_log(config, count)
    server = ValkeyServer(directory / "redis")
    server.start()
    try:
        live = count / decided_in(directory, count)
        say(f"live, weir worker --role score: {live:,.0f} events/s")
        told = weir(directory, "prime", "--json", WEIR_PROFILE=str(other_profile(directory)))
        done = msgspec.json.decode(told.communicate()[0])
        rate = done["records"] / done["seconds"]
        say(f"weir prime of other features from the same log: {rate:,.0f} events/s, {rate / live:.1f} x live")
    finally:
        server.stop()
    return live


def config_at(directory: Path) -> Config:
    """Everything in one directory."""
    return load_config({"dir": str(directory), "profile": PROFILE}, {}, Path("none.toml"))


def other_profile(directory: Path) -> Path:
    """The profile with one feature more."""
    path = directory / "other.toml"
    text = (SHIPPED / f"{PROFILE}.toml").read_text()
    path.write_text(text.replace("declare = [", 'declare = [\n  "max amount by customer over 2d",', 1))
    return path


def write_log(config: Config, count: int) -> None:
    """Payments of as many customers as make the windows of some events each."""
    make_topics(config, 1)
    log, dice = Log(config.dir / "log"), random.Random(1)
    for start in range(0, count, 500):
        log.append(TRANSACTIONS, [record(number, dice, count // 20) for number in range(start, start + 500)])
    log.close()


def record(number: int, dice: random.Random, customers: int) -> Outgoing:
    """A payment as the handbook's data have it."""
    at = BEGIN + timedelta(microseconds=number * STEP_US)
    row = {
        "TRANSACTION_ID": number,
        "TX_DATETIME": at.replace(tzinfo=None).isoformat(sep=" "),
        "CUSTOMER_ID": str(dice.randrange(customers)),
        "TERMINAL_ID": str(dice.randrange(TERMINALS)),
        "TX_AMOUNT": dice.randrange(100, 20_000) / 100,
    }
    arrived = b"%d" % (BEGIN_US + number * STEP_US)
    return Outgoing(row["CUSTOMER_ID"].encode(), msgspec.json.encode(row), ((ARRIVED, arrived),))


def weir(directory: Path, *arguments: str, **environment: str) -> psutil.Popen:
    """A command of Weir's in this directory."""
    named = {"WEIR_DIR": str(directory), "WEIR_PROFILE": PROFILE, "WEIR_LOG": "ERROR"}
    return psutil.Popen(
        [sys.executable, "-m", "stream", *arguments],
        env={**os.environ, **named, **environment},
        stdout=subprocess.PIPE,
    )


def decided_in(directory: Path, count: int) -> float:
    """Seconds from the first decision to the last."""
    log, worker = Log(directory / "log"), weir(directory, "worker", "--role", "score")
    begun = first = 0.0
    try:
        while (done := log.end_offsets("decisions")[0]) < count:
            if done and not begun:
                begun, first = time.monotonic(), float(done)
            if worker.poll() is not None:
                sys.exit("the worker ended")
            time.sleep(0.01)
        return (time.monotonic() - begun) * count / (count - first)
    finally:
        worker.terminate()
        worker.wait()


def from_a_snapshot(directory: Path, cards: int, each: int, live: float) -> None:
    """Make a store of many cards, take it away, put it back."""
    server = ValkeyServer(directory / "redis", appendonly="no")
    config = config_at(directory)
    config = msgspec.structs.replace(config, redis=server.start())
    assert config.redis
    try:
        generation, named = generation_of(load(PROFILE)), RedisLive(config.redis, "weir:")
        named.claim(generation)
        count = filled(config.redis, cards, each)
        began = time.monotonic()
        file = snapshots.take(config)
        say(f"weir snapshot: {time.monotonic() - began:.1f} s, {file.stat().st_size / 1e6:,.0f} MB")
        before = digest(config.redis)
        redis_copy.clear(config.redis, PREFIX)
        began = time.monotonic()
        assert snapshots.put_back(config, config.redis, named, generation)
        took = time.monotonic() - began
        same = "the same to the byte" if digest(config.redis) == before else "NOT THE SAME"
        say(
            f"put back: {cards:,} cards, {count:,} events in {took:.1f} s, which is {count / took:,.0f} events/s, "
            f"{count / took / live:.1f} x live; {before[0]:,} keys, {same}"
        )
    finally:
        server.stop()


def filled(url: str, cards: int, each: int) -> int:
    """Fill a store with payments of so many cards; gives how many."""
    store = RedisFeatureStore(url, load(PROFILE).features, prefix="weir:", hash_key=b"key")
    began, count = time.monotonic(), cards * each
    with Filler(store) as filler:
        for start, events in payments(cards, count):
            source = Source(TRANSACTIONS, 0, start, start + len(events), range(start, start + len(events)))
            filler.apply([Run(events, source)])
        filler.rest()
    store.close()
    say(
        f"the store alone, applied in batches of {BATCH:,}: {count / (time.monotonic() - began):,.0f} events/s"
    )
    return count


def payments(cards: int, count: int) -> Iterator[tuple[int, list[Transaction]]]:
    """Each card as often as any other, in turns."""
    dice = random.Random(2)
    for start in range(0, count, BATCH):
        yield (
            start,
            [
                Transaction(
                    f"e{number}",
                    *[BEGIN_US + number * STEP_US] * 2,
                    *(dice.randrange(100, 20_000), "EUR"),
                    (f"c{number % cards}", f"t{dice.randrange(TERMINALS)}"),
                    *({}, b"body0000"),
                )
                for number in range(start, min(count, start + BATCH))
            ],
        )


def digest(url: str) -> tuple[int, int]:
    """How many keys there are, and what they hold, whatever their order."""
    keys = total = 0
    for some in redis_copy.entries(url, PREFIX):
        keys += len(some)
        for entry in some:
            total ^= int.from_bytes(blake2b(msgspec.msgpack.encode(entry), digest_size=16).digest())
    return keys, total


if __name__ == "__main__":
    main()
