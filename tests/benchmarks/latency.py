"""How long an event takes: from its append to its decision, and to the agent that takes it, at a steady rate.

usage: python -m tests.benchmarks.latency [--rate EVENTS_PER_SECOND] [--events EVENTS] [--kafka] [--partitions N]

The load is open: every event has a moment at which it should be appended, whatever became of those before it, and its
latency counts from that moment (no coordinated omission). So a pause that holds up the sender too is counted in full, for
all whom it held up. A decision is out when another process, woken by its append, has read it from the log, durable.
Where a decision's time went is told by the worker itself, stage by stage: how long a batch took, by its own metrics;
and by the processor time that each process used an event, since whoever has to wait for a core is late.
With `--kafka` the log is the broker that KAFKA_BOOTSTRAP names, or one started from the jars in KAFKA_HOME.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
from prometheus_client.parser import text_string_to_metric_families

from features.profile import load as load_profile
from stream.agents import guarded, make_app, serve
from stream.chunks import chunks
from stream.decisions import DECISIONS, TRANSACTIONS
from stream.files import EventFile
from stream.records import Outgoing
from tests.benchmarks import handbook
from tests.benchmarks.handbook import say
from tests.benchmarks.kafka import broker
from tests.benchmarks.logs import AnyLog, OnDisk, OnKafka

PATIENCE = 60.0
WARM = 20_000
"""Events before those that count, at once: connections are made, scripts loaded, most cards have been seen."""

SETTLE_SECONDS = 8.0
"""So long the rate is kept before it counts: a broker that just began compiles itself beside its work."""

STAGES = "weir_stage_seconds"
PLACES = (0.5, 0.99, 0.999)

Histogram = dict[float, float]
"""Upper end of a bucket -> how many fell into it or below."""


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
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--kafka", action="store_true", help="on Apache Kafka, not on the embedded log")
    parser.add_argument("--partitions", type=int, default=4, help="of each topic on Kafka")
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
        if options.kafka:
            with broker(Path(name)) as servers:
                bench.to_decision(
                    OnKafka(bench.made("live"), f"kafka://{servers}", "lat-", options.partitions)
                )
            return
        bench.to_agent(OnDisk(bench.made("probe")))
        bench.to_decision(OnDisk(bench.made("live")))


class Bench:
    """Events on their way into a log, at a steady rate."""

    def __init__(self, directory: Path, events: int, rate: float) -> None:
        """Cut the file, and learn a model from it."""
        self.directory = directory
        self.rate = rate
        self.profile = handbook.profile(directory)
        self.before = WARM + int(rate * SETTLE_SECONDS)
        file = handbook.cut(directory / "part.parquet", 0, events + self.before)
        self.model = handbook.model(directory / "model.weir", file, self.profile)
        parcels = EventFile(file, load_profile(str(self.profile))).records()
        self.records = [record for parcel in parcels for record in parcel.events][: events + self.before]

    def made(self, name: str) -> Path:
        """A directory of its own."""
        (self.directory / name).mkdir()
        return self.directory / name

    def to_decision(self, log: AnyLog) -> None:
        """Until each decision was read, decided by a real worker; and what its stages took."""
        options = ("--profile", self.profile, "--model", self.model, "--metrics-port", "0")
        command = handbook.command("worker", "--role", "score", *options)
        with log.reading(DECISIONS, event_id) as seen, running(command, log):
            before: dict[str, Histogram] = {}
            used: dict[str, float] = {}

            def begin() -> None:
                before.update(stages(log.directory))
                used.update(processors())

            intended, _ = self._send(log, lambda count: len(seen) >= count, begin)
            spent = {name: seconds - used.get(name, 0) for name, seconds in processors().items()}
            after = stages(log.directory)
        ids = [str(msgspec.json.decode(record.value)["TRANSACTION_ID"]) for record in self.records]
        show(
            "until its decision was out",
            [seen[each] - at for each, at in zip(ids[self.before :], intended, strict=True)],
        )
        costs = (f"{name} {1e6 * each / len(intended):.0f}" for name, each in sorted(spent.items()))
        say("CPU, us an event: " + ", ".join(costs))
        say("a batch, stage by stage (upper end of the bucket; the mean; how many)")
        for stage, buckets in after.items():
            show_stage(
                stage, {end: count - before.get(stage, {}).get(end, 0) for end, count in buckets.items()}
            )

    def to_agent(self, log: AnyLog) -> None:
        """Until each append returned, and until an agent in another process had the event in hand."""
        told = self.directory / "taken"
        command = [sys.executable, "-m", "tests.benchmarks.latency", "--probe", str(log.directory), str(told)]
        with running(command, log):
            intended, appended = self._send(log, lambda count: lines(told) >= count)
        taken = [int(line) / 1e9 for line in told.read_text().split()]
        show("until it was appended", [done - at for done, at in zip(appended, intended, strict=True)])
        show(
            "until an agent took it",
            [done - at for done, at in zip(taken[self.before :], intended, strict=True)],
        )

    def _send(
        self, log: AnyLog, arrived: Callable[[int], bool], begin: Callable[[], object] = lambda: None
    ) -> tuple[list[float], list[float]]:
        """Append each event at its moment, or with all that are due; gives these moments, and when the appends returned.

        Those that do not count come before: some at once, the others at the same rate. Then `begin` is called.
        """
        log.append(TRANSACTIONS, self.records[:WARM])
        eventually(lambda: arrived(WARM))
        self._at_the_rate(log, self.records[WARM : self.before])
        begin()
        timed = self._at_the_rate(log, self.records[self.before :])
        eventually(lambda: arrived(len(self.records)))
        return timed

    def _at_the_rate(self, log: AnyLog, records: Sequence[Outgoing]) -> tuple[list[float], list[float]]:
        began = time.monotonic() + 0.1
        intended = [began + number / self.rate for number in range(len(records))]
        appended: list[float] = []
        earliest = began
        while len(appended) < len(records):
            at = len(appended)
            time.sleep(max(0.0, max(earliest, intended[at]) - time.monotonic()))
            earliest = time.monotonic() + log.pause
            due = bisect_right(intended, time.monotonic(), at + 1)
            log.append(TRANSACTIONS, records[at:due])
            appended += [time.monotonic()] * (due - at)
        return intended, appended


def event_id(value: bytes) -> str:
    """Whose decision it is."""
    return decided(value).event_id


def processors() -> dict[str, float]:
    """Seconds of processor time that this process and all of its children used so far, by what they are."""
    used: dict[str, float] = defaultdict(float)
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        times = process.cpu_times()
        used[_what(process)] += times.user + times.system
    return used


def _what(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return "sender"
    told = " ".join(process.cmdline())
    known = {"stream worker": "worker", "kafka.Kafka": "broker", "spawn_main": "reader"}
    return next((name for part, name in known.items() if part in told), process.name())


def stages(directory: Path) -> dict[str, Histogram]:
    """What the worker of a directory tells of its stages so far: how many batches took up to how long; -1: all seconds."""
    (file,) = (directory / "metrics").glob("score*")
    with urllib.request.urlopen(file.read_text().strip() + "/metrics") as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    found: dict[str, Histogram] = defaultdict(dict)
    for sample in families[STAGES].samples:
        if sample.name.endswith("_bucket"):
            found[sample.labels["stage"]][float(sample.labels["le"])] = sample.value
        elif sample.name.endswith("_sum"):
            found[sample.labels["stage"]][-1.0] = sample.value
    return found


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


@contextmanager
def running(command: list[str], log: AnyLog) -> Iterator[None]:
    """A process on a log while the block runs."""
    environment: Mapping[str, str] = {**handbook.environment(log.directory), **log.environment}
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


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
    places = [math.ceil(part * len(ordered)) - 1 for part in (*PLACES, 1.0)]
    say(f"{what:<28}" + "".join(f"{1000 * ordered[place]:8.1f}" for place in places))


def show_stage(stage: str, counts: Histogram) -> None:
    """The same of a histogram, as the ends of the buckets within which so many fell."""
    batches, seconds = counts[math.inf], counts[-1.0]
    if batches:
        ends = [
            min(end for end, count in counts.items() if end > 0 and count >= part * batches)
            for part in PLACES
        ]
        say(
            f"  {stage:<26}"
            + "".join(f"{1000 * end:8.1f}" for end in ends)
            + f"{1000 * seconds / batches:8.2f}{batches:8,.0f}"
        )


if __name__ == "__main__":
    main()
