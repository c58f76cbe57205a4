"""From where to where the log holds each partition, whichever log it is."""

from __future__ import annotations

from stream.broker import directory_of
from stream.config import Config
from stream.embedded.copy import FILE
from stream.embedded.log import Log
from stream.records import TP

Extents = dict[TP, tuple[int, int]]
"""By partition: its oldest offset, and the one that the next record will get."""


def extents(config: Config, names: tuple[str, ...]) -> Extents:
    """Of those of these topics (without the prefix) that are there."""
    topics = [config.topic(name) for name in names]
    return _embedded(config, topics) if config.embedded else _kafka(config, topics)


def _embedded(config: Config, topics: list[str]) -> Extents:
    directory = directory_of(config.broker)
    if not (directory / FILE).exists():
        return {}
    log = Log(directory)
    try:
        found = {name: (log.first_offsets(name), log.end_offsets(name)) for name in topics}
    finally:
        log.close()
    return {
        TP(name, part): (firsts[part], ends[part]) for name, (firsts, ends) in found.items() for part in ends
    }


def _kafka(config: Config, topics: list[str]) -> Extents:
    from stream.kafka_admin import KafkaAdmin

    with KafkaAdmin(config.broker, config.kafka) as admin:
        counts = admin.partitions(topics)
        starts, ends = admin.starts(counts), admin.ends(counts)
    return {TP(*tp): (starts[tp], end) for tp, end in ends.items()}


def place(tp: TP) -> str:
    """A partition's name for people and in files."""
    return f"{tp.topic}/{tp.partition}"


def at_place(name: str) -> TP:
    """The partition that `place` named so."""
    topic, _, part = name.rpartition("/")
    return TP(topic, int(part))
