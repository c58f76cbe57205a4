"""The two logs as a run needs them: fed, read whole, and asked how far their readers are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from stream.broker import ensure_topics, progress_for, publisher_for
from stream.decisions import ALERTS, DEAD_LABELS, DEAD_TRANSACTIONS, DECISIONS, LABELS, TRANSACTIONS
from stream.embedded.log import Log, LogError
from stream.kafka import BrokerError
from stream.records import TP, Outgoing, Record
from stream.topics import MODELS

TOPICS = (TRANSACTIONS, LABELS, DECISIONS, ALERTS, DEAD_TRANSACTIONS, DEAD_LABELS, MODELS)

READS: Mapping[str, tuple[str, ...]] = {
    "score": (TRANSACTIONS, LABELS),
    "record": (DECISIONS, ALERTS, LABELS, DEAD_TRANSACTIONS, DEAD_LABELS),
    "learn": (DECISIONS, LABELS),
}


class Fed(Protocol):
    """A log under test; topics are named without a prefix."""

    url: str
    prefix: str

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append, again and again until it is durable."""

    def read(self, *topics: str) -> list[Record]:
        """All records of some topics, in the order in which they were appended where the log knows it."""

    def count(self, topic: str) -> int:
        """How many records a topic has had."""

    def settled(self, role: str) -> bool:
        """Whether a role has committed all there is."""


class EmbeddedLog:
    """The log in a directory."""

    prefix = ""

    def __init__(self, home: Path) -> None:
        self.log = Log(home / "log")
        self.url = f"embedded://{home}/log"
        for topic in TOPICS:
            self.log.ensure_topic(topic)

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        while True:
            try:
                self.log.append(topic, records)
                return
            except LogError:  # a disk that is full for a while
                time.sleep(0.1)

    def read(self, *topics: str) -> list[Record]:
        return self.log.fetch({TP(topic, 0): 0 for topic in topics}, 10_000_000)

    def count(self, topic: str) -> int:
        return self.log.end_offsets(topic)[0]

    def settled(self, role: str) -> bool:
        return all(
            self.log.committed(f"weir-{role}", topic) == self.log.end_offsets(topic) for topic in READS[role]
        )


class KafkaLog:
    """Topics of a run's own on a Kafka."""

    def __init__(self, bootstrap: str, prefix: str, partitions: int) -> None:
        self.url, self.prefix, self._servers = f"kafka://{bootstrap}", prefix, bootstrap.split(",")
        self.partitions = partitions
        ensure_topics(self.url, {prefix + topic: partitions for topic in TOPICS})
        self._publisher, self._progress = publisher_for(self.url), progress_for(self.url)

    def append(self, topic: str, records: Sequence[Outgoing]) -> None:
        while True:
            try:
                self._publisher.publish(self.prefix + topic, records)
                return
            except KafkaError:  # brokers that are away for longer than a client waits
                time.sleep(0.5)

    def read(self, *topics: str) -> list[Record]:
        consumer = KafkaConsumer(bootstrap_servers=self._servers, enable_auto_commit=False)
        try:
            places = [
                TopicPartition(self.prefix + topic, part)
                for topic in topics
                for part in range(self.partitions)
            ]
            consumer.assign(places)
            consumer.seek_to_beginning()
            ends = consumer.end_offsets(places)
            found: list[Record] = []
            while any(consumer.position(place) < end for place, end in ends.items()):
                for place, records in consumer.poll(1000).items():
                    found += [self._record(place, each) for each in records]
            return found
        finally:
            consumer.close()

    def _record(self, place: TopicPartition, each: object) -> Record:
        topic = place.topic.removeprefix(self.prefix)
        headers = tuple(each.headers or ())
        return Record(
            topic, place.partition, each.offset, each.key, each.value or b"", headers, each.timestamp
        )

    def count(self, topic: str) -> int:
        try:
            return sum(self._progress.end_offsets(self.prefix + topic).values())
        except (BrokerError, KafkaError):  # nobody is there to tell
            return 0

    def settled(self, role: str) -> bool:
        try:
            return all(
                self._progress.committed(f"{self.prefix}weir-{role}", self.prefix + topic)
                == self._progress.end_offsets(self.prefix + topic)
                for topic in READS[role]
            )
        except (BrokerError, KafkaError):
            return False

    def close(self) -> None:
        self._publisher.close()
