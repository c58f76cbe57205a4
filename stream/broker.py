"""One log or the other, by its URL: ``embedded://DIR`` or ``kafka://HOST:PORT[,...]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stream.records import TP, LogReader, Progress, Publisher, Tail
from stream.security import IN_THE_CLEAR, KafkaSecurity
from stream.topics import DEAD_LETTER_BYTES, MODELS, RATES, Topic, models_topic, rates_topic

if TYPE_CHECKING:
    from stream.embedded.log import Log


def publisher_for(
    url: str, security: KafkaSecurity = IN_THE_CLEAR, largest: int = DEAD_LETTER_BYTES
) -> Publisher:
    """The synchronous way into the log at `url`, for records of up to so many bytes on Kafka."""
    if url.startswith("kafka://"):
        from stream.kafka import KafkaPublisher

        return KafkaPublisher(url, security, largest)
    return _embedded(url)


def tail_for(url: str, topic: str, security: KafkaSecurity = IN_THE_CLEAR) -> Tail:
    """A topic's records from its beginning on."""
    if url.startswith("kafka://"):
        from stream.kafka_tail import KafkaTail

        return KafkaTail(url, topic, security)
    from stream.embedded.tail import LogTail

    return LogTail(_embedded(url), topic)


def reader_for(url: str, positions: Mapping[TP, int], security: KafkaSecurity = IN_THE_CLEAR) -> LogReader:
    """Reads these partitions from these offsets on: on the embedded log in the order in which all of it was appended."""
    if url.startswith("kafka://"):
        from stream.kafka_tail import KafkaReader

        return KafkaReader(url, positions, security)
    return _embedded(url).reader(positions)


def progress_for(url: str, security: KafkaSecurity = IN_THE_CLEAR) -> Progress:
    """What the log at `url` knows of its readers."""
    if url.startswith("kafka://"):
        from stream.kafka import KafkaProgress

        return KafkaProgress(url, security)
    return _embedded(url)


def ensure_topics(url: str, topics: dict[str, int], security: KafkaSecurity = IN_THE_CLEAR) -> None:
    """Make the topics that are missing, with so many partitions; those that exist stay as they are."""
    if url.startswith("kafka://"):
        from stream.kafka_admin import KafkaAdmin

        with KafkaAdmin(url, security) as admin:
            there = admin.partitions(topics)
            admin.create(_topic(name, count) for name, count in topics.items() if name not in there)
        return
    log = _embedded(url)
    for name, partitions in topics.items():
        log.ensure_topic(name, partitions)
        if name.endswith((MODELS, RATES)):
            log.compact(name)
    log.close()


def _topic(name: str, partitions: int) -> Topic:
    """Kafka's own settings, but a dead letter is larger than its event, which may be as large as the broker takes."""
    if name.endswith(MODELS):
        return models_topic(name)
    if name.endswith(RATES):
        return rates_topic(name)
    larger = {"max.message.bytes": str(DEAD_LETTER_BYTES)} if name.endswith(".dlq") else {}
    return Topic(name, partitions, settings=larger)


def _embedded(url: str) -> Log:
    from stream.embedded.log import Log

    return Log(directory_of(url))


def directory_of(url: str) -> Path:
    """The directory that an embedded:// URL names.

    >>> directory_of("embedded:///var/lib/weir/log")
    PosixPath('/var/lib/weir/log')
    """
    return Path(url.removeprefix("embedded://"))
