"""The live path against the textbook app, in one run, on the same kind of log, Redis and features.

usage: python -m tests.benchmarks.live [--warm ROWS] [--events ROWS] [--textbook ROWS] [--watched RUNS] [--profiled FILE]

Both get the same history in their windows and then decide a backlog that lies on the log: payments, and between them
the labels of a week before. Live is the real `weir worker --role score` with a pinned River model; its clock runs from
its first durable decision to its last. With `--watched` it runs with and without metrics that are scraped every second,
and the processor's time an event is compared too, which other work on the machine disturbs less. With `--profiled`
py-spy draws its flame graph.
Then the parts of the live path are timed in this process, chunk by chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil
from redis.asyncio import Redis

from features.profile import load as load_profile
from stream.bootstrap import make_topics, score_role
from stream.chunks import runs_of
from stream.config import Config, load
from stream.decisions import DECISIONS, LABELS, TRANSACTIONS
from stream.embedded.log import Log
from stream.embedded.server import ValkeyServer
from stream.embedded.transport import FETCH
from stream.files import EventFile, Parcel
from stream.probes import addresses, fetched
from stream.records import TP, Record
from stream.runs import Taken
from stream.watching import METRICS
from tests.benchmarks import handbook, textbook
from tests.benchmarks.handbook import say

PATIENCE = 600.0
STAGES = ("decode", "seal", "pack", "store", "unpack", "score", "decide", "emit", "append")


def main() -> None:
    """Print both rates, their ratio, and what each part of the live path costs an event."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        bench = Bench(Path(name), options.warm, options.events)
        live = bench.live(options.profiled)
        say(f"live, weir worker --role score: {live:,.0f} events/s")
        if options.watched:
            say_watched(bench, options.watched)
        if options.textbook:
            plain = bench.textbook(options.textbook)
            say(f"textbook app: {plain:,.0f} events/s")
            say(f"ratio: {live / plain:.1f}")
        say_stages(bench.stages())


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--warm", type=int, default=80_000, help="payments before, which fill the windows")
    parser.add_argument("--events", type=int, default=40_000, help="payments that the live path decides")
    parser.add_argument(
        "--textbook", type=int, default=3_000, help="payments that the textbook decides; 0: none"
    )
    parser.add_argument(
        "--watched",
        type=int,
        default=0,
        help="runs with metrics scraped every second, each beside one without",
    )
    parser.add_argument("--profiled", type=Path, help="py-spy's output (.svg: flame graph; else: raw stacks)")
    return parser.parse_args()


class Bench:
    """A file, a profile, a model, and the two ways to decide."""

    def __init__(self, directory: Path, warm: int, events: int) -> None:
        """Cut the file, learn a model from its beginning."""
        self.directory = directory
        self.profile = handbook.profile(directory)
        self.file = handbook.cut(directory / "part.parquet", 0, warm + events)
        beginning = handbook.cut(directory / "beginning.parquet", 0, 20_000)
        self.model = handbook.model(directory / "model.weir", beginning, self.profile)
        self.before, self.after = divided(self._file().records(), warm)
        self.cpu_us = 0.0  # of the newest live run, an event

    def _file(self) -> EventFile:
        return EventFile(self.file, load_profile(str(self.profile)))

    def config(self, name: str, **more: str) -> Config:
        """Of a Weir of its own; `more` are flags too."""
        flags = {"dir": str(self.directory / name), "profile": str(self.profile), "model": str(self.model)}
        return load({**flags, **more}, {}, Path("no.toml"))

    # --- live

    def live(self, profiled: Path | None, name: str = "live", *more: str) -> float:
        """Events a second of the real process, over the backlog; `more` are flags of the worker."""
        config = self.config(name)
        log = self._prepared(config)
        with serving(config) as url:
            publish(log, self.before)
            with self._worker(config, url):
                decided(log, events_of(self.before))
            warmed = len(decision_times(log))
            publish(log, self.after)
            with self._worker(config, url, *more) as worker, spied(worker, profiled), scraped(config):
                began = decided(log, warmed + 1), cpu_s(worker)
                ended = decided(log, events_of(self.before) + events_of(self.after)), cpu_s(worker)
                self.cpu_us = (ended[1] - began[1]) / (ended[0] - began[0]) * 1e6
            return rate(decision_times(log)[warmed:])

    @staticmethod
    def _prepared(config: Config) -> Log:
        log = Log(config.dir / "log")
        make_topics(config, 1)
        return log

    @contextmanager
    def _worker(self, config: Config, url: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        options = ("--redis", url, "--profile", self.profile, "--model", self.model, *more)
        process = handbook.start("worker", "--role", "score", *options, directory=config.dir)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)

    # --- the textbook

    def textbook(self, events: int) -> float:
        """Events a second of the textbook app, over the beginning of the same backlog."""
        config = self.config("textbook")
        with serving(config) as url:
            names = load_profile(config.profile).features.names
            asyncio.run(fill(url, self.before, names))
            return textbook.run(config.dir / "log", url, divided(self.after, events)[0])

    # --- stages

    def stages(self) -> dict[str, list[float]]:
        """By part of the live path: seconds an event, of each chunk of the backlog."""
        config = self.config("stages")
        log = self._prepared(config)
        with serving(config) as url:
            role, closing = score_role(self.config("stages", redis=url))
            for records in batches(log, self.before):
                role.run(records)
            found: dict[str, list[float]] = defaultdict(list)
            for records in batches(log, self.after):
                clock = Clock()
                for _, chunk in runs_of(records):
                    work = role.prepare(Taken(chunk), seen=clock)
                    work.seal()
                    work.apply()
                    outputs = role.answer(work)
                    with clock.stage("append"):
                        log.append_many(outputs)
                events = sum(record.topic == TRANSACTIONS for record in records)
                for name, seconds in clock.spent.items():
                    found[name].append(seconds / max(1, events))
            closing()
            return found


class Clock:
    """A batch's passage (stream.watch.Passing): adds up what its stages take."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count a block."""
        before = time.perf_counter()
        yield
        self.spent[name] += time.perf_counter() - before

    def done(self) -> None:
        """Nobody waits for it."""


def say_stages(stages: dict[str, list[float]]) -> None:
    """Medians of the chunks: what else runs on the machine disturbs some of them."""
    median = {name: statistics.median(stages[name]) * 1e6 for name in STAGES}
    say("an event (with its label), median of the chunks, one after the other in one process:")
    for name in STAGES:
        say(f"  {name:<18}{median[name]:6.1f} us")
    say(f"  {'together':<18}{sum(median.values()):6.1f} us")


def divided(parcels: Iterable[Parcel], events: int) -> tuple[list[Parcel], list[Parcel]]:
    """Parcels up to so many events, and those after."""
    before: list[Parcel] = []
    parcels, count = iter(parcels), 0
    while count < events and (parcel := next(parcels, None)):
        before.append(parcel)
        count += len(parcel.events)
    # labels that come after the last event are no part of the stream that is measured
    return before, list(itertools.takewhile(lambda parcel: parcel.events, parcels))


def events_of(parcels: Sequence[Parcel]) -> int:
    """How many payments."""
    return sum(len(parcel.events) for parcel in parcels)


def publish(log: Log, parcels: Iterable[Parcel]) -> None:
    """As `weir send` does."""
    for parcel in parcels:
        log.append_many({LABELS: parcel.labels, TRANSACTIONS: parcel.events})


def batches(log: Log, parcels: Sequence[Parcel]) -> Iterator[list[Record]]:
    """What a worker fetches of them."""
    inputs = (TRANSACTIONS, LABELS)
    reader = log.reader({TP(topic, 0): log.end_offsets(topic)[0] for topic in inputs})
    publish(log, parcels)
    while records := reader.fetch(FETCH):
        yield records


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """The processor time that a process took so far."""
    spent = psutil.Process(process.pid).cpu_times()
    return spent.user + spent.system


def decided(log: Log, events: int) -> int:
    """Wait until so many decisions are on the log; gives how many are."""
    deadline = time.monotonic() + PATIENCE
    while log.end_offsets(DECISIONS)[0] < events:
        if time.monotonic() > deadline:
            sys.exit(f"{log.end_offsets(DECISIONS)[0]:,} of {events:,} events were decided in {PATIENCE:g} s")
        time.sleep(0.2)
    return log.end_offsets(DECISIONS)[0]


def decision_times(log: Log) -> list[int]:
    """When each decision got onto the log, in milliseconds."""
    reader = log.reader({TP(DECISIONS, 0): 0})
    times: list[int] = []
    while records := reader.fetch(10_000):
        times += [record.timestamp_ms for record in records]
    return times


def rate(times: Sequence[int]) -> float:
    """Events a second, those of the first append left out: they were made before the clock ran."""
    after = sum(at > times[0] for at in times)
    return after / (times[-1] - times[0]) * 1000


@contextmanager
def serving(config: Config) -> Iterator[str]:
    """A Valkey of its own."""
    server = ValkeyServer(config.dir / "redis")
    try:
        yield server.start()
    finally:
        server.stop()


KINDS = (("without metrics", ()), ("with metrics", ("--metrics-port", "0")))
"""What is compared, and the worker's flags."""


def say_watched(bench: Bench, runs: int) -> None:
    """What watching costs: the ratio of runs side by side, each first in turn, since the machine's speed changes meanwhile."""
    rates, costs = [], []
    for run in range(runs):
        found = {}
        for kind, flags in KINDS[:: 1 if run % 2 == 0 else -1]:
            found[kind] = bench.live(None, f"{kind}-{run}", *flags), bench.cpu_us
            say(f"  {kind:<15} {found[kind][0]:,.0f} events/s, {found[kind][1]:.1f} us of processor an event")
        (quiet, quiet_us), (watched, watched_us) = (found[kind] for kind, _ in KINDS)
        rates.append(watched / quiet)
        costs.append(watched_us / quiet_us)
    say(f"watched / unwatched, median of {runs}: {statistics.median(rates):.3f} events/s, ")
    say(f"  {statistics.median(costs):.3f} processor time an event")


@contextmanager
def scraped(config: Config) -> Iterator[None]:
    """Whatever says where its metrics are is asked for them every second."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(1.0):
            for address in addresses(config.dir / METRICS).values():
                assert b"weir_build_info" in fetched(address, "/metrics")

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        over.set()
        scraper.join()


@contextmanager
def spied(process: subprocess.Popen[bytes], output: Path | None) -> Iterator[None]:
    """Watched by py-spy, if it is asked for."""
    if output is None:
        yield
        return
    kind = "flamegraph" if output.suffix == ".svg" else "raw"
    spy = ["py-spy", "record", "-p", str(process.pid), "-o", str(output), "-f", kind, "-r", "200", "-t"]
    watching = subprocess.Popen(spy, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        watching.send_signal(2)
        watching.wait(PATIENCE)


async def fill(url: str, parcels: Sequence[Parcel], names: Sequence[str]) -> None:
    """The textbook's keys as they would be after these parcels."""
    redis = Redis.from_url(url)
    terminals: dict[str, int] = {}
    for parcel in parcels:
        pipeline = redis.pipeline(transaction=False)
        for record in parcel.labels:
            label = json.loads(record.value)
            at = datetime.fromisoformat(label["labelled_at"]).timestamp()
            member = f"{label['event_id']}:{int(label['label'] == 'fraud')}"
            pipeline.zadd(f"labels:terminal:{terminals[label['event_id']]}", {member: at})
        for record in parcel.events:
            tx = json.loads(record.value)
            at = datetime.fromisoformat(tx["TX_DATETIME"]).replace(tzinfo=UTC).timestamp()
            pipeline.zadd(f"customer:{tx['CUSTOMER_ID']}", {f"{tx['TRANSACTION_ID']}:{tx['TX_AMOUNT']}": at})
            pipeline.zadd(f"terminal:{tx['TERMINAL_ID']}", {str(tx["TRANSACTION_ID"]): at})
            logged = {"terminal": tx["TERMINAL_ID"], "features": dict.fromkeys(names, 0.0)}
            pipeline.set(f"features:{tx['TRANSACTION_ID']}", json.dumps(logged))
            terminals[str(tx["TRANSACTION_ID"])] = tx["TERMINAL_ID"]
        await pipeline.execute()
    await redis.aclose()


if __name__ == "__main__":
    main()
