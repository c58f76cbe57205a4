"""The two logs as a benchmark from outside uses them: fill, read as it comes, and point a worker at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from stream.bootstrap import make_topics
from stream.broker import ensure_topics
from stream.config import load
from stream.embedded.log import Log
from stream.kafka import servers_of
from stream.records import TP, Outgoing
from stream.topics import MODELS

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
    """Apache Kafka: an append is on its way when it returns, at once and alone."""

    def __init__(self, directory: Path, url: str, prefix: str, partitions: int) -> None:
        self.directory = directory
        self.environment = {"WEIR_BROKER": url, "WEIR_TOPIC_PREFIX": prefix}
        self._url, self._prefix, self._partitions = url, prefix, partitions
        ensure_topics(url, {prefix + topic: partitions for topic in TOPICS})
        self._producer = KafkaProducer(bootstrap_servers=servers_of(url), acks="all", linger_ms=0)

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        for record in records:
            self._producer.send(
                self._prefix + topic, key=record.key, value=record.value, headers=list(record.headers)
            )

    @contextmanager
    def reading(self, topic: str, name: Name) -> Iterator[dict[str, float]]:
        seen: dict[str, float] = {}
        consumer = KafkaConsumer(bootstrap_servers=servers_of(self._url), enable_auto_commit=False)
        parts = [TopicPartition(self._prefix + topic, part) for part in range(self._partitions)]
        consumer.assign(parts)
        consumer.seek_to_beginning()

        def read() -> None:
            found = consumer.poll(200)
            at = time.monotonic()
            seen.update((name(record.value), at) for records in found.values() for record in records)

        with _over_and_over(read):
            yield seen
        consumer.close()


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
