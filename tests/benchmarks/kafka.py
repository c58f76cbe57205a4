"""The score role on Apache Kafka beside other ways to do the same, in one run on one broker.

usage: python -m tests.benchmarks.kafka [--events N] [--partitions N] [--quix DIR] [--only NAME ...]

The broker is the one that KAFKA_BOOTSTRAP names, or one started from the jars in KAFKA_HOME. Every contender gets topics
of its own, filled before it starts, and an empty Valkey; its rate is that of its outputs between the first that lies on
the broker and the last. `--quix` names a folder into which Quix Streams was installed (pip install --target DIR
quixstreams); without it that contender is left out. CPU is that of the contender's own process.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psutil
from kafka import KafkaConsumer, TopicPartition

from features.profile import load as load_profile
from stream.broker import ensure_topics, publisher_for
from stream.decisions import DECISIONS, TRANSACTIONS
from stream.embedded.server import ValkeyServer
from stream.files import EventFile
from stream.kafka import servers_of
from stream.records import Outgoing
from tests.benchmarks import handbook
from tests.benchmarks.contenders import FORWARDING, SCORING
from tests.benchmarks.handbook import say
from tests.integration.kafka_server import KafkaServer, runnable

PATIENCE = 300.0
SLOW = {"textbook": 40, "score-events": 8, "score-quix": 8, "forward-events": 8}
"""These get one event in so many: they would take all day."""

TOPICS = (TRANSACTIONS, "labels", DECISIONS, "alerts", "transactions.dlq", "labels.dlq", "models")


class Measured(msgspec.Struct):
    """What came of one contender."""

    name: str
    rate: float
    cpu_us: float  # of its processes, an event


def main() -> None:
    """Print a table: events a second, each against Weir, and CPU an event."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="weir-") as name, broker(Path(name)) as servers:
        bench = Bench(Path(name), servers, options)
        for title, names in (("parse and forward", FORWARDING), ("score", {"weir": None, **SCORING})):
            chosen = [each for each in names if not options.only or each in options.only]
            show(title, [found for each in chosen if (found := bench.measure(each)) is not None])
        if not options.only:
            two = bench.measure("weir", workers=2)
            if two is not None:
                say(f"two workers: {two.rate:,.0f} events/s, {two.cpu_us:.1f} us of CPU an event")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=80_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--quix", type=Path, help="where Quix Streams is installed")
    parser.add_argument("--only", nargs="*", default=[], help="these contenders")
    return parser.parse_args()


@contextmanager
def broker(directory: Path) -> Iterator[str]:
    """The brokers' addresses."""
    named, home = os.environ.get("KAFKA_BOOTSTRAP"), os.environ.get("KAFKA_HOME")
    if named:
        yield named
        return
    reason = runnable(Path(home)) if home else "neither KAFKA_BOOTSTRAP nor KAFKA_HOME is set"
    if reason or not home:
        say(f"skipped: {reason}")
        sys.exit(0)
    server = KafkaServer(Path(home), directory / "kafka")
    server.start()
    try:
        yield server.bootstrap
    finally:
        server.stop()


class Bench:
    """A file's events, a model, and a broker."""

    def __init__(self, directory: Path, servers: str, options: argparse.Namespace) -> None:
        """Cut the file and learn a model from it."""
        self.directory = directory
        self.url = f"kafka://{servers}"
        self.partitions = options.partitions
        self.quix = options.quix
        self.runs = 0
        self.profile = handbook.profile(directory)
        file = handbook.cut(directory / "part.parquet", 0, options.events)
        self.model = handbook.model(directory / "model.weir", file, self.profile)
        parcels = EventFile(file, load_profile(str(self.profile))).records()
        self.records = [record for parcel in parcels for record in parcel.events]

    def measure(self, name: str, workers: int = 1) -> Measured | None:
        """One contender over its own topics; None where it cannot run."""
        if "quix" in name and self.quix is None:
            say(f"{name}: left out, --quix names no folder")
            return None
        self.runs += 1
        prefix = f"b{self.runs}-"
        ensure_topics(self.url, {prefix + topic: self.partitions for topic in TOPICS})
        records = self.records[: len(self.records) // SLOW.get(name, 1)]
        self._fill(prefix + TRANSACTIONS, records)
        server = ValkeyServer(self.directory / f"redis-{self.runs}")
        with ExitStack() as stack:
            url = server.start()
            stack.callback(server.stop)
            processes = [
                stack.enter_context(self._running(name, prefix, url, number)) for number in range(workers)
            ]
            return self._watched(name, prefix + DECISIONS, len(records), processes)

    def _fill(self, topic: str, records: Sequence[Outgoing]) -> None:
        publisher = publisher_for(self.url)
        for start in range(0, len(records), 10_000):
            publisher.publish(topic, records[start : start + 10_000])
        publisher.close()

    @contextmanager
    def _running(self, name: str, prefix: str, redis: str, number: int) -> Iterator[psutil.Popen]:
        directory = self.directory / f"{prefix}{number}"
        command = [sys.executable, "-m", "tests.benchmarks.contenders", name]
        if name == "weir":
            command = handbook.command("worker", "--role", "score")
        directory.mkdir(parents=True)
        process = psutil.Popen(command, env=self._environment(directory, prefix, redis, name))
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _environment(self, directory: Path, prefix: str, redis: str, name: str) -> Mapping[str, str]:
        settings = {
            "WEIR_BROKER": self.url,
            "WEIR_REDIS": redis,
            "WEIR_PROFILE": str(self.profile),
            "WEIR_MODEL": str(self.model),
            "WEIR_TOPIC_PREFIX": prefix,
        }
        if "quix" in name:
            settings["PYTHONPATH"] = os.pathsep.join([str(self.quix), str(Path.cwd())])
        return {**handbook.environment(directory), **settings}

    def _watched(
        self, name: str, topic: str, events: int, processes: Sequence[psutil.Popen]
    ) -> Measured | None:
        consumer = KafkaConsumer(bootstrap_servers=servers_of(self.url))
        parts = [TopicPartition(topic, part) for part in range(self.partitions)]
        deadline = time.monotonic() + PATIENCE
        first: tuple[float, int, float] | None = None
        while True:
            done, at = sum(consumer.end_offsets(parts).values()), time.monotonic()
            if done and first is None:
                first = (at, done, cpu(processes))
            if first and done >= events:
                (began, before, used) = first
                spent = 1e6 * (cpu(processes) - used) / (done - before)
                return Measured(name, (done - before) / (at - began), spent)
            if at > deadline or any(process.poll() is not None for process in processes):
                say(f"{name}: {done:,} of {events:,} came out in {PATIENCE:g} s, or it ended")
                return None
            time.sleep(0.02)


def cpu(processes: Sequence[psutil.Popen]) -> float:
    """Seconds of CPU that they have used."""
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def show(title: str, found: Sequence[Measured]) -> None:
    """A table, the first contender against each."""
    say(f"\n{title:<20}{'events/s':>10}{'first is':>10}{'CPU us':>9}")
    for each in found:
        ratio = found[0].rate / each.rate
        say(f"{each.name:<20}{each.rate:>10,.0f}{ratio:>9.2f}x{each.cpu_us:>9.1f}")


if __name__ == "__main__":
    main()
