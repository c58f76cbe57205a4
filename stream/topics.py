"""The topics: their names, what the profile wants of each, and how what stands on the log differs from that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from features.topic_settings import LEAST_US, TopicSettings
from stream.decisions import ALERTS, DEAD_LABELS, DEAD_TRANSACTIONS, DECISIONS, LABELS, TRANSACTIONS

MODELS = "models"
"""Numbered snapshots, compacted; the key is the model's name."""

RATES = "rates"
"""Rates of exchange, compacted; the key is a pair of currencies and the time of the rate. Only where a profile converts."""

KEYED = (TRANSACTIONS, LABELS, DECISIONS, ALERTS)
"""Keyed alike, and with the same number of partitions: a key has the same number in all of them."""

DEAD_LETTER_BYTES = 2_000_000
"""The largest dead letter: its event, sealed, and why. Kafka's own default for every record is half of it."""

MODEL_BYTES = 8_000_000
"""The largest snapshot."""

BROKERS_DEFAULT = -1

SAFE_COPIES = 3
"""With so many copies two must hold a record before it counts as written: one broker may go, and nothing with it."""


class Topic(msgspec.Struct, frozen=True):
    """A topic as it is wanted, or as it was found."""

    name: str
    partitions: int
    replication: int = BROKERS_DEFAULT
    settings: Mapping[str, str] = {}  # Kafka's names; of a topic that was found: all of them


class Difference(msgspec.Struct, frozen=True):
    """One thing in which a topic is not as the profile wants it."""

    topic: str
    what: str  # "partitions", "replication", or a setting's name
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, the profile wants {self.wanted}"


class Admin(Protocol):
    """A log whose topics can be made and looked at."""

    def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """Those of these topics that exist."""
        ...

    def create(self, topics: Iterable[Topic]) -> None:
        """Make topics; one that somebody else made in the meantime stays as it is."""
        ...

    def change(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        """Give topics other settings."""
        ...

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Give topics more partitions."""
        ...


def wanted(settings: TopicSettings, prefix: str = "", *, converts: bool = False) -> list[Topic]:
    """Weir's topics as a profile wants them, each with a tenant's prefix before its name; `rates` where it `converts`."""
    copies = settings.replication or BROKERS_DEFAULT
    made = [
        *(
            _topic(name, settings.partitions, copies, settings.retention_us)
            for name in (TRANSACTIONS, LABELS, DECISIONS)
        ),
        _topic(ALERTS, settings.partitions, copies, settings.alerts_retention_us),
        *(
            _topic(name, 1, copies, settings.dead_letter_retention_us, DEAD_LETTER_BYTES)
            for name in (DEAD_TRANSACTIONS, DEAD_LABELS)
        ),
        models_topic(MODELS, copies),
        *([rates_topic(RATES, copies, settings.retention_us)] if converts else []),
    ]
    safe = {"min.insync.replicas": "2"} if copies >= SAFE_COPIES else {}
    return [
        msgspec.structs.replace(topic, name=prefix + topic.name, settings={**topic.settings, **safe})
        for topic in made
    ]


def models_topic(name: str, copies: int = BROKERS_DEFAULT) -> Topic:
    """The topic of snapshots: the newest of each model stays for ever."""
    return Topic(name, 1, copies, {"cleanup.policy": "compact", "max.message.bytes": str(MODEL_BYTES)})


def rates_topic(name: str, copies: int = BROKERS_DEFAULT, events_us: int = LEAST_US) -> Topic:
    """The topic of rates: one that was corrected stays as long as the events that were converted by it, others for ever.

    They arrive when a broker takes them: a producer's own clock could say that one had arrived before.
    """
    settings = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(events_us // 1_000),
        "message.timestamp.type": "LogAppendTime",
    }
    return Topic(name, 1, copies, settings)


def _topic(name: str, partitions: int, copies: int, retention_us: int, largest: int | None = None) -> Topic:
    settings = {"cleanup.policy": "delete", "retention.ms": str(retention_us // 1_000)}
    if largest is not None:
        settings["max.message.bytes"] = str(largest)
    return Topic(name, partitions, copies, settings)


def missing(want: Iterable[Topic], found: Mapping[str, Topic]) -> list[Topic]:
    """Topics that are still to be made."""
    return [topic for topic in want if topic.name not in found]


def differences(want: Iterable[Topic], found: Mapping[str, Topic]) -> list[Difference]:
    """In what those that exist are not as they are wanted."""
    return [
        difference
        for topic in want
        if topic.name in found
        for difference in _differences(topic, found[topic.name])
    ]


def _differences(want: Topic, found: Topic) -> Iterable[Difference]:
    if want.partitions != found.partitions:
        yield Difference(want.name, "partitions", str(want.partitions), str(found.partitions))
    if want.replication not in (BROKERS_DEFAULT, found.replication):
        yield Difference(want.name, "replication", str(want.replication), str(found.replication))
    for name, value in want.settings.items():
        if found.settings.get(name) != value:
            yield Difference(want.name, name, value, found.settings.get(name, "not set"))


def changes(differing: Iterable[Difference]) -> dict[str, dict[str, str]]:
    """The settings to be changed, by topic. Partitions and copies are never among them."""
    made: dict[str, dict[str, str]] = {}
    for difference in differing:
        if difference.what not in ("partitions", "replication"):
            made.setdefault(difference.topic, {})[difference.what] = difference.wanted
    return made
