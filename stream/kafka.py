"""The same app on Apache Kafka: Faust's own transport, delivering chunks; batches out; topics, publishing and lag."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IllegalStateError,
    TopicAuthorizationFailedError,
)
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread as FaustConsumerThread
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.types.tuples import TP as FaustTP
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaConfigurationError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
)

from stream.chunks import ChunkedConsumer
from stream.partition import parted
from stream.records import TP, Outgoing, Record, much
from stream.security import IN_THE_CLEAR, KafkaSecurity
from stream.topics import DEAD_LETTER_BYTES

CONNECT_MS = 15_000
"""How long brokers may take to answer at all."""

RECONNECT_MS = 1_000
"""How long a publisher waits at most before it looks again whether a broker that was away is back; not half a minute."""

NOT_TRUSTED = "Handshake failed"
"""kafka-python's words for a TLS connection that was not made."""

FETCH_WAIT_MS = 50
"""How long the broker may hold a fetch that finds nothing. What has records in hand is not fetched meanwhile, nor is anything
else from that broker: while quiet partitions (labels) were waited for, busy ones ran dry."""

REQUEST_MS = 30_000
"""How long a request may take before it is an error: a broker's restart fits in."""


class BrokerError(Exception):
    """Kafka cannot be used, or refused something: what, and what to do."""


def credentials(security: KafkaSecurity) -> Any:
    """The same for Faust, whose producer and consumer are aiokafka's; None in the clear and without a name."""
    context = security.context()
    if security.sasl and security.password is not None:
        return faust.SASLCredentials(
            username=security.user,
            password=security.password.reveal(),
            ssl_context=context,
            mechanism=security.mechanism,
        )
    return faust.SSLCredentials(context) if context is not None else None


class ConsumerThread(FaustConsumerThread):
    """Where Faust's consumer talks to aiokafka's.

    aiokafka fetches ahead, as soon as it is rid of what it has. Where the end of the log is near that is one record or
    two, and they would grow old in its hands while many others came: so it fetches only while it is asked.
    """

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """The next records: one hop to the thread and one back, where Faust's own way takes eight tasks for them."""
        consumer = self._ensure_consumer()
        fetching = self._fetch_records(consumer, active_partitions, timeout, consumer._max_poll_records)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetching, self.thread_loop))

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        consumer.resume(*consumer.paused())
        fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        if fetched and not much([record for records in fetched.values() for record in records]):
            consumer.pause(*consumer.assignment())
        return fetched

    def _create_worker_consumer(self, transport: FaustTransport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust says 1500, and has no setting for it
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group. Where a broker is away aiokafka lets out the cancellation of its own fetch; mode would wait a minute."""
        with suppress(asyncio.CancelledError):
            await super().on_thread_stop()


class Consumer(ChunkedConsumer, FaustConsumer):  # type: ignore[misc]
    """Faust's Kafka consumer, a message a fetched run of a partition."""

    PLACED_ANEW = (IllegalStateError,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Made by Faust."""
        super().__init__(*args, **kwargs)
        self.begin_chunks()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _runs(self, fetched: Any) -> Iterator[tuple[TP, Sequence[Record]]]:
        for tp, records in fetched.items():
            yield TP(tp.topic, tp.partition), [record_of(tp, record) for record in records]

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
    try:
        for batch in _batches(producer, records):
            # One after the other: an id's first decision counts, so none may be there whose forerunner failed.
            await (await producer.send_batch(batch, tp.topic, partition=tp.partition))
    except (ClusterAuthorizationFailedError, TopicAuthorizationFailedError) as error:
        raise BrokerError(
            f"Weir's Kafka user may not write the topic {tp.topic}: its administrator can allow it (ACL: WRITE, DESCRIBE). "
            "Nothing of this chunk is committed; the next start decides it again"
        ) from error


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

    def __init__(
        self, url: str, security: KafkaSecurity = IN_THE_CLEAR, largest: int = DEAD_LETTER_BYTES
    ) -> None:
        """Connect to the brokers of a kafka:// URL; raises BrokerError if that cannot be done.

        Records, and batches of them, have at most `largest` bytes.
        """
        with told(url, security):
            self._producer = KafkaProducer(
                bootstrap_servers=servers_of(url),
                acks="all",
                linger_ms=5,
                request_timeout_ms=REQUEST_MS,
                bootstrap_timeout_ms=CONNECT_MS,
                reconnect_backoff_max_ms=RECONNECT_MS,
                max_request_size=largest,
                **security.client(),
            )

    def publish(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Send all records; returns when they are acknowledged, raises what the first failure was."""
        try:
            sent = [
                self._producer.send(topic, key=record.key, value=record.value, headers=list(record.headers))
                for record in records
            ]
            self._producer.flush()
            for future in sent:
                future.get(timeout=REQUEST_MS / 1000)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            largest = max(len(record.value) for record in records)
            raise BrokerError(
                f"a record of {largest:,} bytes is too large for the topic {topic}: its max.message.bytes is less than the "
                "profile wants (`weir topics create --apply` mends that), or the record is larger than anything Weir sends"
            ) from error

    def close(self) -> None:
        """Give back the connections."""
        self._producer.close()


class KafkaProgress:
    """Ends and committed offsets, with kafka-python."""

    def __init__(self, url: str, security: KafkaSecurity = IN_THE_CLEAR) -> None:
        """Ask the brokers of a kafka:// URL."""
        self._url, self._security = url, security
        self._settings = {
            "bootstrap_servers": servers_of(url),
            "bootstrap_timeout_ms": CONNECT_MS,
            **security.client(),
        }

    def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the offset that the next record will get."""
        with told(self._url, self._security):
            consumer = KafkaConsumer(**self._settings)
        try:
            parts = [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic) or ()]
            return {tp.partition: offset for tp, offset in consumer.end_offsets(parts).items()}
        finally:
            consumer.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """By partition: the offset from which the group's next member would start (0 where it never committed)."""
        with told(self._url, self._security):
            consumer = KafkaConsumer(**self._settings, group_id=group, enable_auto_commit=False)
        try:
            parts = consumer.partitions_for_topic(topic) or ()
            return {part: consumer.committed(TopicPartition(topic, part)) or 0 for part in parts}
        finally:
            consumer.close()

    def record_at(self, tp: TP, offset: int) -> Record | None:
        """The oldest record of a partition at or behind an offset; None where the log ends before it."""
        with told(self._url, self._security):
            consumer = KafkaConsumer(**self._settings, enable_auto_commit=False)
        place = TopicPartition(*tp)
        try:
            consumer.assign([place])
            consumer.seek(place, max(offset, consumer.beginning_offsets([place])[place]))
            (end,) = consumer.end_offsets([place]).values()
            while consumer.position(place) < end:
                for found in consumer.poll(1000, max_records=1).get(place, ()):
                    return record_of(place, found)
            return None
        finally:
            consumer.close()


@contextmanager
def told(url: str, security: KafkaSecurity) -> Iterator[None]:
    """What kafka-python raises in the block is raised as BrokerError, with its meaning and the mend.

    It tries again until its time is up, and says why in its log only: so that is listened to.
    """
    heard = _Heard()
    try:
        with heard:
            yield
    except KafkaError as error:
        raise BrokerError(explained(heard.telling(error), servers_of(url), security)) from error


class _Heard(logging.Handler):
    """Keeps the errors that kafka-python logs while the block runs, and keeps all but debuggers from reading each."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._errors: list[Exception] = []
        self._logger = logging.getLogger("kafka")

    def emit(self, record: logging.LogRecord) -> None:
        args = record.args if isinstance(record.args, tuple) else ()
        self._errors += [each for each in args if isinstance(each, Exception)]

    def __enter__(self) -> None:
        self._propagated = self._logger.propagate
        self._logger.propagate = self._logger.isEnabledFor(logging.DEBUG)
        self._logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def telling(self, raised: Exception) -> Exception:
        """The error that tells most: a refused login or certificate, else what came last, else what was raised."""
        if not isinstance(raised, KafkaTimeoutError):
            return raised
        reasons = [error for error in self._errors if not isinstance(error, KafkaTimeoutError)]
        refused = [error for error in reasons if _refused(error)]
        return (refused or reasons or [raised])[-1]


def _refused(error: Exception) -> bool:
    return isinstance(error, SaslAuthenticationFailedError) or NOT_TRUSTED in str(error)


def explained(error: Exception, servers: Sequence[str], security: KafkaSecurity) -> str:
    """What a client's error means, and the mend."""
    who = f"the Kafka user {security.user}" if security.user else "whoever does not log in"
    where = ",".join(servers)
    if isinstance(error, SaslAuthenticationFailedError):
        return f"Kafka at {where} refused {who}: WEIR_KAFKA_USER, WEIR_KAFKA_PASSWORD or WEIR_KAFKA_SASL_MECHANISM is wrong"
    if NOT_TRUSTED in str(error):
        return f"no trusted connection to the Kafka at {where}: {error}. Is WEIR_KAFKA_CA_FILE its authority's certificate?"
    if isinstance(error, AuthorizationError):
        return (
            f"{who} may not do that on the Kafka at {where}: {error}. Its administrator can allow it (ACLs)"
        )
    if isinstance(error, KafkaConfigurationError):
        return f"Kafka at {where} cannot be used with these settings: {error}"
    if isinstance(error, KafkaConnectionError) and "disconnected" in str(error):
        return f"the Kafka at {where} closes the connection: {_closing(security)}"
    return f"the Kafka at {where} cannot be used: {type(error).__name__}: {error}"


def _closing(security: KafkaSecurity) -> str:
    if security.sasl:
        return "WEIR_KAFKA_USER or WEIR_KAFKA_PASSWORD is wrong, or WEIR_KAFKA_SECURITY_PROTOCOL not what that port speaks"
    return "it may ask for TLS or a login: see WEIR_KAFKA_SECURITY_PROTOCOL"


def servers_of(url: str) -> list[str]:
    """The brokers that a kafka:// URL names.

    >>> servers_of("kafka://a:9092,b:9092")
    ['a:9092', 'b:9092']
    """
    return url.removeprefix("kafka://").split(",")


def record_of(tp: FaustTP, record: Any) -> Record:
    """A record as either Kafka client gave it."""
    return Record(
        tp.topic,
        tp.partition,
        record.offset,
        record.key,
        record.value if record.value is not None else b"",
        tuple(record.headers or ()),
        record.timestamp,
    )
