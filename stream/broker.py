"""One log or the other, by its URL: ``embedded://DIR`` or ``kafka://HOST:PORT[,...]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stream.records import Progress, Publisher

if TYPE_CHECKING:
    from stream.embedded.log import Log


def publisher_for(url: str) -> Publisher:
    """The synchronous way into the log at `url`."""
    if url.startswith("kafka://"):
        from stream.kafka import KafkaPublisher

        return KafkaPublisher(url)
    return _embedded(url)


def progress_for(url: str) -> Progress:
    """What the log at `url` knows of its readers."""
    if url.startswith("kafka://"):
        from stream.kafka import KafkaProgress

        return KafkaProgress(url)
    return _embedded(url)


def ensure_topics(url: str, topics: dict[str, int]) -> None:
    """Make the topics that are missing, with so many partitions; those that exist stay as they are."""
    if url.startswith("kafka://"):
        from stream.kafka import create_topics

        create_topics(url, topics)
        return
    log = _embedded(url)
    for name, partitions in topics.items():
        log.ensure_topic(name, partitions)
    log.close()


def _embedded(url: str) -> Log:
    from stream.embedded.log import Log

    return Log(directory_of(url))


def directory_of(url: str) -> Path:
    """The directory that an embedded:// URL names.

    >>> directory_of("embedded:///var/lib/weir/log")
    PosixPath('/var/lib/weir/log')
    """
    return Path(url.removeprefix("embedded://"))
