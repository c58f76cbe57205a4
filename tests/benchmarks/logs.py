"""The two logs as a benchmark from outside uses them: fill, read as it comes, and point a worker at it."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream.bootstrap import make_topics
from stream.broker import ensure_topics
from stream.config import load
from stream.embedded.log import Log
from stream.kafka import servers_of
from stream.partition import parted
from stream.records import TP, Outgoing
from stream.topics import MODELS

TOPICS = ("transactions", "labels", "decisions", "alerts", "transactions.dlq", "labels.dlq", MODELS)

PARCEL, PARCEL_BYTES = 500, 900_000
"""Records of one request at most, and bytes of one batch."""

REQUEST_MS = 30_000

TELL_SECONDS = 0.1
"""How often the reading process tells what it read."""

T = TypeVar("T")
Name = Callable[[bytes], str]
"""The value of a record -> what tells whose it is."""


class AnyLog(Protocol):
    """A log with Weir's topics, empty at first."""

    directory: Path
    environment: Mapping[str, str]
    pause: float
    """Seconds between appends, at least: a client gathers what is due meanwhile."""

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append, and return when it is durable."""
        ...

    def reading(self, topic: str, name: Name) -> Iterator[dict[str, float]]:
        """Reads a topic while the block runs; gives by name when each record was read."""
        ...


class OnDisk:
    """The embedded log."""

    pause = 0.0

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
    """Apache Kafka. It costs little beside what is measured: one produce request holds what is due, another process reads.

    A client of its own, since a producer's machinery costs as much as a worker's: half a core at 2,000 events/s.
    """

    pause = 0.002  # Kafka's own producer gathers for 5 ms

    def __init__(self, directory: Path, url: str, prefix: str, partitions: int) -> None:
        self.directory = directory
        self.environment = {"WEIR_BROKER": url, "WEIR_TOPIC_PREFIX": prefix}
        self._url, self._prefix, self._partitions = url, prefix, partitions
        ensure_topics(url, {prefix + topic: partitions for topic in TOPICS})
        self._loop = asyncio.new_event_loop()
        self._producer = self._run(self._started())

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(what)

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(bootstrap_servers=servers_of(self._url), acks="all")
        await producer.start()
        return producer

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        for start in range(0, len(records), PARCEL):
            self._run(self._append(self._prefix + topic, records[start : start + PARCEL]))

    async def _append(self, topic: str, records: Sequence[Outgoing]) -> None:
        """One request to the one broker that there is."""
        await self._producer.partitions_for(topic)
        client = self._producer.client
        parts = [(part, self._packed(some)) for part, some in parted(records, self._partitions).items()]
        request = ProduceRequest(None, -1, REQUEST_MS, [(topic, parts)])
        answer = await client.send(client.get_random_node(), request)
        refused = [error for _, told in answer.topics for _, error, *_ in told if error]
        if refused:
            raise for_code(refused[0])(topic)

    def _packed(self, records: Sequence[Outgoing]) -> bytes:
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, PARCEL_BYTES)
        for number, each in enumerate(records):
            builder.append(number, None, each.key, each.value, list(each.headers))
        return bytes(builder.build())

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
        self._run(self._producer.stop())


def _read(url: str, parts: Sequence[TopicPartition], name: Name, pipe: Connection) -> None:
    """Tell by name when each record was there. The clock is the machine's, the same in all processes."""
    asyncio.run(_read_on(url, parts, name, pipe))


async def _read_on(url: str, parts: Sequence[TopicPartition], name: Name, pipe: Connection) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers_of(url), enable_auto_commit=False)
    await consumer.start()
    consumer.assign(parts)
    await consumer.seek_to_beginning(*parts)
    told, seen = time.monotonic(), list[tuple[str, float]]()
    while True:
        found = await consumer.getmany(timeout_ms=200)
        at = time.monotonic()
        seen += [(name(record.value), at) for records in found.values() for record in records]
        if at - told > TELL_SECONDS:
            pipe.send(seen)
            told, seen = at, []


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
