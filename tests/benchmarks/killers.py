"""The same killer on a stock Faust app, on Quix Streams and on Weir, on one Kafka: what is lost, counted twice, or stuck.

usage: python -m tests.benchmarks.killers [--stops N] [--rate EVENTS_A_SECOND] [--quix DIR] [--seed N] [--only NAME ...]

Payments of some cards flow in at a steady rate. Each contender counts them by card in its own state and sends the count
with the payment's id. Meanwhile its one worker is killed (SIGKILL) and stopped (SIGTERM) N times each, in an order and
at moments drawn from the seed, and once it is frozen (SIGSTOP) for longer than the session while another takes over, and
then woken. Whoever reads the output takes the first record of an id, committed ones only. A card's third payment counts 3:

lost     ids without any output.
wrong    ids whose count is not the payment's place in its card's row: something before it counted twice, or not at all.
again    records beyond the first of an id.
stuck    how often nothing came out for 60 s although a worker ran and payments waited; it is then started anew.
hung     how often SIGTERM did not end the worker within 30 s.

The broker is the one in KAFKA_BOOTSTRAP, or one started from KAFKA_HOME. The result is a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from uuid import uuid4

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from stream.broker import ensure_topics
from stream.decisions import DECISIONS, TRANSACTIONS
from stream.embedded.server import ValkeyServer
from stream.topics import MODELS
from tests.benchmarks.handbook import say
from tests.benchmarks.kafka import broker

SESSION_SECONDS = 10
"""For all: after it a killed worker's partitions are another's. Faust's own default is 60, Quix Streams' 45."""

STUCK_SECONDS, HUNG_SECONDS = 60.0, 30.0
PARTITIONS, CARDS = 4, 200

MOST_AT_ONCE = 500
"""A machine that is too busy for the rate gets a lower one, and no flood."""

PROFILE = """
name = "counted"
[source]
event_id = "id"
time = "at"
timezone = "UTC"
amount = "amount"
currency = "EUR"
[entities]
card = "card"
[stream]
partition_by = "card"
[features]
remember = "7d"
declare = ["count by card over 30d"]
[policy]
alerts_per_day = 100
card = "card"
"""

NEVER_BEGAN = "not measured: nothing came out though nobody had struck yet; look at the set-up first"

OTHERS = ("labels", "alerts", "transactions.dlq", "labels.dlq", MODELS)


class Output(msgspec.Struct):
    """A record of any contender's output, as far as it tells a payment's count."""

    id: str = ""
    count: int = 0
    event_id: str = ""
    features: dict[str, float | None] = {}

    def told(self) -> tuple[str, int]:
        """The payment, and its count."""
        if self.event_id:
            (value,) = self.features.values()
            return self.event_id, int(value or 0)
        return self.id, self.count


class Contender(msgspec.Struct, frozen=True):
    """A way to count."""

    name: str
    module: str
    output: str
    settings: Mapping[str, str] = {}


CONTENDERS = (
    Contender("Faust, at_least_once", "faust_app", "counted", {"STOCK_GUARANTEE": "at_least_once"}),
    Contender("Faust, exactly_once", "faust_app", "counted", {"STOCK_GUARANTEE": "exactly_once"}),
    Contender("Quix Streams, at-least-once", "quix_app", "counted", {"STOCK_GUARANTEE": "at-least-once"}),
    Contender("Quix Streams, exactly-once", "quix_app", "counted", {"STOCK_GUARANTEE": "exactly-once"}),
    Contender("Weir", "stream", DECISIONS),
)


class Feed(threading.Thread):
    """Payments into a topic at a steady rate, until it is told to stop."""

    def __init__(self, servers: str, topic: str, rate: float, chance: random.Random) -> None:
        """`sent` has by id the payment's place in its card's row, once it is acknowledged."""
        super().__init__(name="feed")
        self.sent: dict[str, int] = {}
        self._producer = KafkaProducer(bootstrap_servers=servers.split(","), acks="all", linger_ms=20)
        self._topic, self._rate, self._chance = topic, rate, chance
        self._rows: Counter[int] = Counter()
        self._ended = threading.Event()

    def run(self) -> None:
        """Send until `end`."""
        began, first = time.monotonic(), datetime.now(UTC) - timedelta(hours=1)
        while not self._ended.is_set():
            due = min(MOST_AT_ONCE, int((time.monotonic() - began) * self._rate) - len(self.sent))
            made = [self._payment(first) for _ in range(due)]
            waiting = [
                (*each, self._producer.send(self._topic, key=key, value=value)) for *each, key, value in made
            ]
            for event_id, place, sent in waiting:
                sent.get(timeout=60)
                self.sent[event_id] = place
            time.sleep(0.05)

    def _payment(self, first: datetime) -> tuple[str, int, bytes, bytes]:
        card = self._chance.randrange(CARDS)
        self._rows[card] += 1
        number = self._rows.total()
        at = first + timedelta(milliseconds=5 * number)
        told = {"id": f"p{number}", "card": f"c{card}", "at": at.isoformat(), "amount": 1.0}
        return told["id"], self._rows[card], told["card"].encode(), msgspec.json.encode(told)

    def end(self) -> None:
        """Stop, and wait for the last acknowledgement."""
        self._ended.set()
        self.join()
        self._producer.close()


class Results:
    """What came out, read as it comes: committed records only."""

    def __init__(self, servers: str, topic: str) -> None:
        """Read the topic from its beginning."""
        self.first: dict[str, int] = {}
        self.again = 0
        self._decode = msgspec.json.Decoder(Output).decode
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers.split(","),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        self._consumer.assign([TopicPartition(topic, part) for part in range(PARTITIONS)])
        self._consumer.seek_to_beginning()

    def look(self) -> int:
        """Take what is there; gives how many payments have an output."""
        for _ in range(20):
            found = self._consumer.poll(50, max_records=5_000)
            for records in found.values():
                for record in records:
                    event_id, count = self._decode(record.value).told()
                    self.again += event_id in self.first
                    self.first.setdefault(event_id, count)
            if not found:
                break
        return len(self.first)

    def close(self) -> None:
        """Give back the connection."""
        self._consumer.close()


class Verdict(msgspec.Struct):
    """What became of one contender."""

    name: str
    payments: int = 0
    lost: int = 0
    wrong: int = 0
    again: int = 0
    stuck: int = 0
    hung: int = 0
    died: int = 0  # by itself
    missing: str = ""

    def row(self) -> str:
        """A line of the table."""
        cells = [self.name, *(f"{getattr(self, name):,}" for name in COLUMNS)]
        return f"| {' | '.join(cells)} |" if not self.missing else f"| {self.name} | {self.missing} |"


COLUMNS = ("payments", "lost", "wrong", "again", "stuck", "hung", "died")


class Run:
    """One contender under the killer."""

    def __init__(
        self, contender: Contender, servers: str, directory: Path, options: argparse.Namespace
    ) -> None:
        """Make its topics."""
        self.contender, self.servers, self.directory, self.options = contender, servers, directory, options
        self.prefix = f"k{uuid4().hex[:8]}-"
        self.chance = random.Random(options.seed)
        self.verdict = Verdict(contender.name)
        self.workers: list[subprocess.Popen[bytes]] = []
        names = {TRANSACTIONS, contender.output, *(OTHERS if contender.module == "stream" else ())}
        ensure_topics(f"kafka://{servers}", {self.prefix + name: PARTITIONS for name in names})
        self.results = Results(servers, self.prefix + contender.output)
        self.feed = Feed(servers, self.prefix + TRANSACTIONS, options.rate, random.Random(options.seed))

    def go(self, redis: str) -> Verdict:
        """Kill it again and again, let it finish, and count."""
        self.redis = redis
        try:
            self.feed.start()
            self._start()
            self._wait(lambda: self.results.look() > 0, patience=3)
            if not self.results.look():
                self.results.close()
                return Verdict(self.contender.name, missing=NEVER_BEGAN)
            for number in self._signals():
                self._strike(number)
            self._freeze()
            self.feed.end()
            self._wait(lambda: self.results.look() >= len(self.feed.sent), patience=3)
        finally:
            self.feed.end()
            for worker in self.workers:
                worker.kill()
                worker.wait()
        return self._counted()

    def _signals(self) -> list[signal.Signals]:
        signals = [signal.SIGKILL, signal.SIGTERM] * self.options.stops
        self.chance.shuffle(signals)
        return signals

    def _strike(self, number: signal.Signals) -> None:
        before = self.results.look()
        self._wait(lambda: self.results.look() > before)
        time.sleep(self.chance.uniform(0.5, 3.0))
        (worker,) = self.workers
        worker.send_signal(number)
        self._ended(worker)
        self._start()

    def _ended(self, worker: subprocess.Popen[bytes]) -> None:
        try:
            worker.wait(HUNG_SECONDS)
        except subprocess.TimeoutExpired:
            self.verdict.hung += 1
            worker.kill()
            worker.wait()
        self.workers.remove(worker)

    def _freeze(self) -> None:
        """Longer than the session, with another at work; then it wakes up, and a while later it ends."""
        before = self.results.look()
        self._wait(lambda: self.results.look() > before)
        (frozen,) = self.workers
        frozen.send_signal(signal.SIGSTOP)
        self._start()
        time.sleep(2 * SESSION_SECONDS)
        frozen.send_signal(signal.SIGCONT)
        time.sleep(SESSION_SECONDS)
        if frozen.poll() is None:
            frozen.terminate()
        self._ended(frozen)

    def _wait(self, condition: Callable[[], bool], patience: int = 1) -> None:
        """Until it is so. A worker that does nothing for long, or died, is started anew, a few times at most."""
        seen, since, strikes = -1, time.monotonic(), 0
        while not condition():
            if (now := len(self.results.first)) != seen:
                seen, since = now, time.monotonic()
            for worker in [each for each in self.workers if each.poll() is not None]:
                self.verdict.died += 1
                self.workers.remove(worker)
                time.sleep(1)
            if not self.workers:
                self._start()
            if time.monotonic() - since > STUCK_SECONDS:
                self.verdict.stuck += 1
                strikes += 1
                if strikes >= patience:
                    return
                self._again()
                since = time.monotonic()

    def _again(self) -> None:
        for worker in list(self.workers):
            worker.kill()
            worker.wait()
            self.workers.remove(worker)
        self._start()

    def _start(self) -> None:
        place = self.directory / self.contender.module / str(len(list(self.directory.glob("*/*"))))
        place.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEIR_", "STOCK_"))}
        with (self.directory / "workers.out").open("ab") as output:
            self.workers.append(
                subprocess.Popen(
                    self._command(), env={**kept, **self._environment(place)}, stdout=output, stderr=output
                )
            )

    def _command(self) -> list[str]:
        if self.contender.module == "stream":
            return [sys.executable, "-m", "stream", "worker", "--role", "score"]
        stock = [sys.executable, "-m", f"tests.benchmarks.stock.{self.contender.module}"]
        return [*stock, "worker", "--without-web"] if self.contender.module == "faust_app" else stock

    def _environment(self, place: Path) -> dict[str, str]:
        if self.contender.module == "stream":
            profile = self.directory / "counted.toml"
            profile.write_text(PROFILE)
            return {
                "WEIR_DIR": str(self.directory / "weir"),
                "WEIR_BROKER": f"kafka://{self.servers}",
                "WEIR_REDIS": self.redis,
                "WEIR_PROFILE": str(profile),
                "WEIR_TOPIC_PREFIX": self.prefix,
            }
        folder = self.directory / "state" if self.contender.module == "quix_app" else place
        path = [str(self.options.quix)] if self.contender.module == "quix_app" else []
        return {
            "STOCK_BROKER": self.servers,
            "STOCK_PREFIX": self.prefix,
            "STOCK_PARTITIONS": str(PARTITIONS),
            "STOCK_SESSION": str(SESSION_SECONDS),
            "STOCK_DIRECTORY": str(folder if not self.workers else place),
            "PYTHONPATH": os.pathsep.join([*path, str(Path.cwd())]),
            **self.contender.settings,
        }

    def _counted(self) -> Verdict:
        self.results.look()
        sent, first = self.feed.sent, self.results.first
        self.verdict.payments = len(sent)
        self.verdict.lost = len(sent.keys() - first.keys())
        self.verdict.wrong = sum(first[event_id] != sent[event_id] for event_id in sent.keys() & first.keys())
        self.verdict.again = self.results.again
        self.results.close()
        return self.verdict


def main() -> None:
    """Print the table."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="weir-") as name, broker(Path(name)) as servers:
        verdicts = [
            under_the_killer(each, servers, Path(name) / f"c{number}", options)
            for number, each in enumerate(CONTENDERS)
            if not options.only or any(word in each.name for word in options.only)
        ]
        say(f"\n{told(options)}\n")
        say(f"| | {' | '.join(COLUMNS)} |\n|---{'|---:' * len(COLUMNS)}|")
        for verdict in verdicts:
            say(verdict.row())


def under_the_killer(
    contender: Contender, servers: str, directory: Path, options: argparse.Namespace
) -> Verdict:
    """What became of one contender."""
    if contender.module == "quix_app" and options.quix is None:
        return Verdict(contender.name, missing="left out: --quix names no folder")
    directory.mkdir()
    server = ValkeyServer(directory / "redis")
    try:
        verdict = Run(contender, servers, directory, options).go(server.start())
    finally:
        server.stop()
    if options.keep:
        (options.keep / f"{contender.name}.out").write_bytes((directory / "workers.out").read_bytes())
    say(verdict.row())
    return verdict


def told(options: argparse.Namespace) -> str:
    """Where, when, and with what this was measured."""
    versions = [
        f"{name} {_version(name, options.quix)}" for name in ("faust-streaming", "quixstreams", "weir")
    ]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {', '.join(versions)}, Python {platform.python_version()}, {os.cpu_count()} cores; "
        f"{options.stops} SIGKILL, {options.stops} SIGTERM and one SIGSTOP each, {options.rate:g} payments a second, "
        f"{PARTITIONS} partitions, seed {options.seed}."
    )


def _version(name: str, folder: Path | None) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        found = [each.version for each in distributions(name=name, path=[str(folder)])] if folder else []
        return found[0] if found else "absent"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stops", type=int, default=2, help="of each kind")
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quix", type=Path, help="where Quix Streams is installed")
    parser.add_argument("--keep", type=Path, help="a folder for the workers' own output")
    parser.add_argument("--only", nargs="*", default=[], help="those whose name has one of these words")
    return parser.parse_args()


if __name__ == "__main__":
    main()
