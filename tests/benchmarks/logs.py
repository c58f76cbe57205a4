"""The two logs as a benchmark from outside uses them: fill, read as it comes, and point a worker at it."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.bootstrap import make_topics
from stream.broker import ensure_topics
from stream.config import load
from stream.embedded.log import Log
from stream.kafka import servers_of
from stream.partition import parted
from stream.records import TP, Outgoing
from stream.topics import MODELS
from tests.benchmarks.handbook import say

TOPICS = ("transactions", "labels", "decisions", "alerts", "transactions.dlq", "labels.dlq", MODELS)

Name = Callable[[bytes], str]
"""The value of a record -> what tells whose it is."""


class AnyLog(Protocol):
    """A log with Weir's topics, empty at first."""

    directory: Path
    environment: Mapping[str, str]

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append without waiting for more than the log makes everybody wait for."""
        ...

    def reading(self, topic: str, name: Name) -> Iterator[dict[str, float]]:
        """Reads a topic while the block runs; gives by name when each record was read."""
        ...


class OnDisk:
    """The embedded log: an append returns when it is durable."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_topics(load({"dir": str(directory)}, {}, Path("no.toml")), 1)
        self.environment: Mapping[str, str] = {}
        self.log = Log(directory / "log")
        self.append = self.log.append

    @contextmanager
    def reading(self, topic: str, name: Name) -> Iterator[dict[str, float]]:
        seen: dict[str, float] = {}
        waker, reader = self.log.waker(), self.log.reader({TP(topic, 0): 0})

        def read() -> None:
            waker.clear()
            while records := reader.fetch(500):
                at = time.monotonic()
                seen.update((name(record.value), at) for record in records)
            waker.wait(0.2)

        with _over_and_over(read):
            yield seen
        waker.close()


class OnKafka:
    """Apache Kafka: an append is on its way when it returns.

    It costs little beside what is measured: aiokafka makes batches of what is due, and another process reads.
    """

    def __init__(self, directory: Path, url: str, prefix: str, partitions: int) -> None:
        self.directory = directory
        self.environment = {"WEIR_BROKER": url, "WEIR_TOPIC_PREFIX": prefix}
        self._url, self._prefix, self._partitions = url, prefix, partitions
        ensure_topics(url, {prefix + topic: partitions for topic in TOPICS})
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._producer = self._ask(self._started()).result()

    def _ask(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop)

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(bootstrap_servers=servers_of(self._url), acks="all")
        await producer.start()
        return producer

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        self._ask(self._send(self._prefix + topic, records)).add_done_callback(_told)

    async def _send(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Into whatever produce batch is open: what is due while one is on its way goes with the next."""
        for part, some in parted(records, self._partitions).items():
            for each in some:
                await self._producer.send(
                    topic, each.value, key=each.key, partition=part, headers=list(each.headers)
                )

    @contextmanager
    def reading(self, topic: str, name: Name) -> Iterator[dict[str, float]]:
        seen: dict[str, float] = {}
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe(duplex=False)
        parts = [TopicPartition(self._prefix + topic, part) for part in range(self._partitions)]
        reader = spawn.Process(target=_read, args=(self._url, parts, name, theirs), daemon=True)
        reader.start()

        def receive() -> None:
            if ours.poll(0.2):
                seen.update(ours.recv())

        with _over_and_over(receive):
            yield seen
        reader.kill()
        reader.join()
        self._ask(self._producer.stop()).result()


def _told(sent: Any) -> None:
    if sent.exception() is not None:
        say(f"an append failed: {sent.exception()}")


def _read(url: str, parts: Sequence[TopicPartition], name: Name, pipe: Connection) -> None:
    """Tell by name when each record was there. The clock is the machine's, the same in all processes."""
    asyncio.run(_read_on(url, parts, name, pipe))


async def _read_on(url: str, parts: Sequence[TopicPartition], name: Name, pipe: Connection) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers_of(url), enable_auto_commit=False)
    await consumer.start()
    consumer.assign(parts)
    await consumer.seek_to_beginning(*parts)
    while True:
        found = await consumer.getmany(timeout_ms=200)
        at = time.monotonic()
        pipe.send([(name(record.value), at) for records in found.values() for record in records])


@contextmanager
def _over_and_over(call: Callable[[], None]) -> Iterator[None]:
    """Calls it in a thread while the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            call()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
