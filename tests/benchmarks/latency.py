"""How long an event takes: from its append to its decision, and to the agent that takes it, at a steady low rate.

usage: python -m tests.benchmarks.latency [--rate EVENTS_PER_SECOND] [--events EVENTS]

The load is open: every event has a moment at which it should be appended, whatever became of those before it, and its
latency counts from that moment. So a pause that holds up the sender too is counted in full, for all whom it held up.
A decision is out when another process, woken by its append, has read it from the log, durable.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from features.profile import load as load_profile
from stream.agents import guarded, make_app, serve
from stream.bootstrap import make_topics
from stream.chunks import chunks
from stream.config import load
from stream.decisions import DECISIONS, TRANSACTIONS
from stream.embedded.log import Log
from stream.files import EventFile
from stream.records import TP, Record
from tests.benchmarks import handbook
from tests.benchmarks.handbook import say

PATIENCE = 60.0
WARM = 300
"""Events before those that count: connections are made, scripts loaded, files opened."""


class Decided(msgspec.Struct):
    """Of a decision, what tells whose it is."""

    event_id: str


decided = msgspec.json.Decoder(Decided).decode


def main() -> None:
    """Print the percentiles of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=100.0, help="events a second")
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--probe", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        asyncio.run(serve(probe(*options.probe)))
        return
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        bench = Bench(Path(name), options.events, options.rate)
        say(
            f"{options.events:,} events, {options.rate:g} a second; milliseconds from when each should be appended"
        )
        say(f"{'':<28}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>8}")
        appended, taken = bench.to_agent()
        show("until it was appended", appended)
        show("until an agent took it", taken)
        show("until its decision was out", bench.to_decision())


class Bench:
    """Events on their way into a log, at a steady rate."""

    def __init__(self, directory: Path, events: int, rate: float) -> None:
        """Cut the file, and learn a model from it."""
        self.directory = directory
        self.rate = rate
        self.profile = handbook.profile(directory)
        file = handbook.cut(directory / "part.parquet", 0, max(20_000, events + WARM))
        self.model = handbook.model(directory / "model.weir", file, self.profile)
        parcels = EventFile(file, load_profile(str(self.profile))).records()
        self.records = [record for parcel in parcels for record in parcel.events][: events + WARM]

    def to_decision(self) -> list[float]:
        """Seconds of each event until its decision was read, decided by a real worker."""
        directory = self.directory / "live"
        options = ("--profile", self.profile, "--model", self.model)
        log = prepared(directory)
        with reading(log, DECISIONS, lambda record: decided(record.value).event_id) as seen:
            command = handbook.command("worker", "--role", "score", *options)
            with running(command, directory):
                intended, _ = self._send(log, lambda count: len(seen) >= count)
        ids = [str(msgspec.json.decode(record.value)["TRANSACTION_ID"]) for record in self.records]
        return [seen[event_id] - at for event_id, at in zip(ids[WARM:], intended, strict=True)]

    def to_agent(self) -> tuple[list[float], list[float]]:
        """Seconds of each event until its append returned, and until an agent in another process had it in hand."""
        directory, told = self.directory / "probe", self.directory / "taken"
        log = prepared(directory)
        command = [sys.executable, "-m", "tests.benchmarks.latency", "--probe", str(directory), str(told)]
        with running(command, directory):
            intended, appended = self._send(log, lambda count: lines(told) >= count)
        taken = [int(line) / 1e9 for line in told.read_text().split()]
        return (
            [done - at for done, at in zip(appended, intended, strict=True)],
            [done - at for done, at in zip(taken[WARM:], intended, strict=True)],
        )

    def _send(self, log: Log, arrived: Callable[[int], bool]) -> tuple[list[float], list[float]]:
        """Append each event at its moment; gives these moments, and when each append returned."""
        log.append(TRANSACTIONS, self.records[:WARM])
        eventually(lambda: arrived(WARM))
        began = time.monotonic() + 0.1
        intended = [began + number / self.rate for number in range(len(self.records) - WARM)]
        appended = []
        for at, record in zip(intended, self.records[WARM:], strict=True):
            time.sleep(max(0.0, at - time.monotonic()))
            log.append(TRANSACTIONS, [record])
            appended.append(time.monotonic())
        eventually(lambda: arrived(len(self.records)))
        return intended, appended


def probe(directory: Path, told: Path) -> Any:
    """An app whose agent writes down when it had each record in hand."""
    app = make_app("weir-probe", f"embedded://{directory}/log", directory / "faust")
    out = told.open("w", buffering=1)

    @app.agent(app.topic(TRANSACTIONS))
    @guarded
    async def note(stream: Any) -> None:
        async for chunk in chunks(stream):
            at = time.monotonic_ns()
            out.writelines(f"{at}\n" for _ in chunk.records)
            chunk.done()

    return app


def prepared(directory: Path) -> Log:
    """An empty log with Weir's topics."""
    make_topics(load({"dir": str(directory)}, {}, Path("no.toml")), 1)
    return Log(directory / "log")


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[None]:
    """A process while the block runs."""
    process = subprocess.Popen(command, env=handbook.environment(directory))
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def reading(log: Log, topic: str, name: Callable[[Record], str]) -> Iterator[dict[str, float]]:
    """Reads a topic while the block runs; gives by name when each record was read."""
    seen: dict[str, float] = {}
    ended = threading.Event()

    def read() -> None:
        waker, reader = log.waker(), log.reader({TP(topic, 0): 0})
        while not ended.is_set():
            waker.clear()
            while records := reader.fetch(500):
                at = time.monotonic()
                seen.update((name(record), at) for record in records)
            waker.wait(0.2)
        waker.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def lines(file: Path) -> int:
    """How many lines there are by now."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"nothing came through in {PATIENCE:g} s")
        time.sleep(0.05)


def show(what: str, seconds: list[float]) -> None:
    """Percentiles in milliseconds: the smallest value that so many of the events kept within."""
    ordered = sorted(seconds)
    places = [math.ceil(part * len(ordered)) - 1 for part in (0.5, 0.99, 0.999, 1.0)]
    say(f"{what:<28}" + "".join(f"{1000 * ordered[place]:8.1f}" for place in places))


if __name__ == "__main__":
    main()
