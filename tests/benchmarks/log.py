"""The embedded log: appends, reads, and the way through a Faust agent; chunks against single messages in one run.

usage: python -m tests.benchmarks.log [RECORDS]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import faust
from yarl import URL

from stream.agents import make_app, outlet_for
from stream.chunks import chunks
from stream.embedded.log import Log
from stream.records import ARRIVED, TP, Outgoing
from tests.benchmarks.textbook import PlainTransport

RECORDS = 200_000
BATCH = 500
PLAIN = 10
"""Single messages get this part of the records: they take that much longer."""

PINGS = 400


def main(records: int) -> None:
    """Print each figure with what it is compared with."""
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as directory:
        log = Log(Path(directory) / "log")
        alone = appends(log, "alone", max(200, records // 400), 1)
        batched = appends(log, "in", records, BATCH)
        say(
            f"appends, {BATCH} at a time: {batched:,.0f} records/s; alone: {alone:,.0f}; {batched / alone:.0f} times"
        )
        say(f"fetched: {fetches(log, 'in'):,.0f} records/s")
        chunked = asyncio.run(through(Path(directory), "in", records, by_chunks))
        appends(log, "plain", records // PLAIN, BATCH)
        single = asyncio.run(through(Path(directory), "plain", records // PLAIN, one_by_one))
        say("append -> agent -> append -> committed, events/s:")
        say(f"  in chunks {chunked:,.0f}, message by message {single:,.0f}; {chunked / single:.0f} times")
        median, slowest = latency(Path(directory))
        say(
            f"from an append to the agent of an idle worker: median {median:.1f} ms, 99 % within {slowest:.1f} ms"
        )


def say(line: str) -> None:
    """A line for whoever runs this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def appends(log: Log, topic: str, records: int, size: int) -> float:
    """Records a second, appended so many at a time: 350 bytes, a key, a header."""
    value = b"v" * 350
    batch = [
        Outgoing(b"customer-%d" % index, value, ((ARRIVED, b"1500000000000000"),)) for index in range(size)
    ]
    began = time.perf_counter()
    for _ in range(records // size):
        log.append(topic, batch)
    return records / (time.perf_counter() - began)


def fetches(log: Log, topic: str) -> float:
    """Records a second, fetched as the transport does."""
    reader, count, began = log.reader({TP(topic, 0): 0}), 0, time.perf_counter()
    while batch := reader.fetch(BATCH):
        count += len(batch)
    return count / (time.perf_counter() - began)


def by_chunks(app: faust.App, topic: str, counted: Callable[[int], None]) -> None:
    """Weir's way: a chunk in, a batch out, done."""
    outlet = outlet_for(app)

    @app.agent(app.topic(topic))
    async def forward(stream: Any) -> None:
        async for chunk in chunks(stream):
            await outlet.send({f"{topic}-out": [Outgoing(r.key, r.value, r.headers) for r in chunk.records]})
            chunk.done()
            counted(len(chunk.records))


def one_by_one(app: faust.App, topic: str, counted: Callable[[int], None]) -> None:
    """Faust's way: an event at a time, sent on in batches all the same, so that only the delivery differs."""
    app.transport = PlainTransport([URL(str(app.conf.broker[0]))], app)
    outlet = outlet_for(app)

    @app.agent(app.topic(topic))
    async def forward(stream: Any) -> None:
        held: list[Outgoing] = []
        async for event in stream.events():
            held.append(Outgoing(event.message.key, event.value, tuple(event.message.headers)))
            if len(held) == BATCH:
                await outlet.send({f"{topic}-out": held})
                counted(len(held))
                held = []


async def through(directory: Path, topic: str, records: int, declare: Callable[..., None]) -> float:
    """Events a second from the first one's arrival at the agent to the last one's output."""
    app = make_app(f"bench-{topic}", f"embedded://{directory}/log", directory / "faust")
    times: list[tuple[float, int]] = []
    finished = asyncio.Event()

    def counted(number: int) -> None:
        times.append((time.perf_counter(), number))
        if sum(count for _, count in times) >= records:
            finished.set()

    declare(app, topic, counted)
    await app.start()
    await finished.wait()
    await app.stop()
    return sum(count for _, count in times[1:]) / (times[-1][0] - times[0][0])


def latency(directory: Path) -> tuple[float, float]:
    """Milliseconds from before an append to its record's arrival at an agent: median and 99th percentile."""
    took: list[float] = []
    asyncio.run(ping(directory, took))
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


async def ping(directory: Path, took: list[float]) -> None:
    """Another thread appends one record after the other; the agent notes how old they are."""
    app = make_app("bench-ping", f"embedded://{directory}/log", directory / "faust")
    arrived = threading.Event()

    @app.agent(app.topic("ping"))
    async def note(stream: Any) -> None:
        async for chunk in chunks(stream):
            took.extend(1000 * (time.perf_counter() - float(record.value)) for record in chunk.records)
            chunk.done()
            arrived.set()

    await app.start()
    await asyncio.get_running_loop().run_in_executor(None, pings, Log(directory / "log"), arrived)
    await app.stop()


def pings(log: Log, arrived: threading.Event) -> None:
    """Append, wait until it arrived, pause."""
    for _ in range(PINGS):
        arrived.clear()
        log.append("ping", [Outgoing(b"k", b"%f" % time.perf_counter())])
        arrived.wait()
        time.sleep(0.002)


def arguments(words: Sequence[str]) -> int:
    """How many records, if it is said."""
    return int(words[0]) if words else RECORDS


if __name__ == "__main__":
    main(arguments(sys.argv[1:]))
