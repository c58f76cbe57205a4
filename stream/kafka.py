"""The same app on Apache Kafka: Faust's own transport, delivering chunks; batches out; topics, publishing and lag."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.types.tuples import TP as FaustTP
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

from stream.chunks import ChunkedConsumer
from stream.partition import parted
from stream.records import TP, Outgoing, Record

REQUEST_MS = 30_000
"""How long a request may take before it is an error: a broker's restart fits in."""

DEAD_LETTER_BYTES = 2_000_000
"""The largest dead letter; Kafka's own default for every record is half of it."""


class Consumer(ChunkedConsumer, FaustConsumer):  # type: ignore[misc]
    """Faust's Kafka consumer, a message a fetched run of a partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Made by Faust."""
        super().__init__(*args, **kwargs)
        self.begin_chunks()

    def _runs(self, fetched: Any) -> Iterator[tuple[TP, Sequence[Record]]]:
        for tp, records in fetched.items():
            yield TP(tp.topic, tp.partition), [_record(tp, record) for record in records]

    async def seek_to_committed(self) -> Mapping[FaustTP, int]:
        """Read on from what the group committed; from the beginning where it never did.

        aiokafka leaves the latter where they are, which may be behind records that nobody was given.
        """
        committed: Mapping[FaustTP, int] = await super().seek_to_committed()
        new = [tp for tp, offset in committed.items() if not offset]
        if new:
            await self.seek_wait(await self.earliest_offsets(*new))
        return committed


class Transport(FaustTransport):
    """Kafka, in chunks."""

    Consumer = Consumer


class KafkaOutlet:
    """Sends whole batches: produce batches by partition, all partitions at once, acknowledged by all replicas.

    It uses the app's own producer, beside Faust's way of sending single messages.
    """

    def __init__(self, app: faust.App, prefix: str = "") -> None:
        """`prefix` is put before every topic's name."""
        self._app = app
        self._prefix = prefix

    async def send(self, batches: Mapping[str, Sequence[Outgoing]]) -> None:
        """Send to several topics; returns when all of it is acknowledged, raises when any is not."""
        faust_producer: Any = self._app.producer
        producer: AIOKafkaProducer = faust_producer._ensure_producer()
        sends = [
            _send(producer, TP(self._prefix + name, part), group)
            for name, records in batches.items()
            for part, group in parted(records, await _partitions(producer, self._prefix + name)).items()
        ]
        await asyncio.gather(*sends)


async def _partitions(producer: AIOKafkaProducer, topic: str) -> int:
    return len(await producer.partitions_for(topic))


async def _send(producer: AIOKafkaProducer, tp: TP, records: Sequence[Outgoing]) -> None:
    waiting = [
        await producer.send_batch(batch, tp.topic, partition=tp.partition)
        for batch in _batches(producer, records)
    ]
    await asyncio.gather(*waiting)


def _batches(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> Iterator[Any]:
    """Produce batches of these records in their order; one that is larger than a batch goes alone."""
    batch = producer.create_batch()
    for record in records:
        if _append(batch, record) is None:
            yield batch
            batch = producer.create_batch()
            _append(batch, record)
    yield batch


def _append(batch: Any, record: Outgoing) -> Any:
    return batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers))


class KafkaPublisher:
    """The synchronous way into Kafka, with kafka-python."""

    def __init__(self, url: str) -> None:
        """Connect to the brokers of a kafka:// URL."""
        self._producer = KafkaProducer(
            bootstrap_servers=servers_of(url),
            acks="all",
            linger_ms=5,
            request_timeout_ms=REQUEST_MS,
            max_request_size=DEAD_LETTER_BYTES,
        )

    def publish(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Send all records; returns when they are acknowledged, raises what the first failure was."""
        sent = [
            self._producer.send(topic, key=record.key, value=record.value, headers=list(record.headers))
            for record in records
        ]
        self._producer.flush()
        for future in sent:
            future.get(timeout=REQUEST_MS / 1000)

    def close(self) -> None:
        """Give back the connections."""
        self._producer.close()


class KafkaProgress:
    """Ends and committed offsets, with kafka-python."""

    def __init__(self, url: str) -> None:
        """Ask the brokers of a kafka:// URL."""
        self._servers = servers_of(url)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the offset that the next record will get."""
        consumer = KafkaConsumer(bootstrap_servers=self._servers)
        try:
            parts = [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic) or ()]
            return {tp.partition: offset for tp, offset in consumer.end_offsets(parts).items()}
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """By partition: the offset from which the group's next member would start (0 where it never committed)."""
        consumer = KafkaConsumer(bootstrap_servers=self._servers, group_id=group, enable_auto_commit=False)
        try:
            parts = consumer.partitions_for_topic(topic) or ()
            return {part: consumer.committed(TopicPartition(topic, part)) or 0 for part in parts}
        finally:
            consumer.close()

    def record_at(self, tp: TP, offset: int) -> Record | None:
        """The oldest record of a partition at or behind an offset; None where the log ends before it."""
        consumer = KafkaConsumer(bootstrap_servers=self._servers, enable_auto_commit=False)
        place = TopicPartition(*tp)
        try:
            consumer.assign([place])
            consumer.seek(place, max(offset, consumer.beginning_offsets([place])[place]))
            (end,) = consumer.end_offsets([place]).values()
            while consumer.position(place) < end:
                for found in consumer.poll(1000, max_records=1).get(place, ()):
                    return _record(place, found)
            return None
        finally:
            consumer.close()


def create_topics(url: str, topics: Mapping[str, int]) -> None:
    """Make the topics that are missing, with so many partitions."""
    admin = KafkaAdminClient(bootstrap_servers=servers_of(url))
    try:
        missing = set(topics) - set(admin.list_topics())
        for name in sorted(missing):
            try:
                admin.create_topics([NewTopic(name, topics[name], -1, topic_configs=_settings(name))])
            except TopicAlreadyExistsError:
                continue  # another process was quicker
    finally:
        admin.close()


def _settings(topic: str) -> dict[str, str]:
    """A dead letter is its event, sealed, and why: larger than the event, which may be as large as the broker takes."""
    return {"max.message.bytes": str(DEAD_LETTER_BYTES)} if topic.endswith(".dlq") else {}


def servers_of(url: str) -> list[str]:
    """The brokers that a kafka:// URL names.

    >>> servers_of("kafka://a:9092,b:9092")
    ['a:9092', 'b:9092']
    """
    return url.removeprefix("kafka://").split(",")


def _record(tp: FaustTP, record: Any) -> Record:
    return Record(
        tp.topic,
        tp.partition,
        record.offset,
        record.key,
        record.value if record.value is not None else b"",
        tuple(record.headers or ()),
        record.timestamp,
    )
