"""The table [topics] of a profile: how the log's topics are made, where the log is Kafka."""

from __future__ import annotations

import msgspec

from features.catalogue import DAY_US, FeatureSet
from features.grammar import duration_us
from features.located import Located, ProfileError, Table

TOPICS = ("partitions", "replication", "retention", "alerts_retention", "dead_letter_retention")

LEAST_US = 30 * DAY_US
"""How long events are kept unless the profile says otherwise, or its features look further back."""


class TopicSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `weir topics create` makes, and `weir doctor` looks for."""

    partitions: int = 4  # of transactions, labels, decisions and alerts: at most so many workers share a role
    replication: int | None = None  # copies of each record; None: as many as the brokers make by default
    retention_us: int = LEAST_US  # of transactions, labels and decisions
    alerts_retention_us: int = LEAST_US
    dead_letter_retention_us: int = 2 * LEAST_US


def topic_settings(file: Located, features: FeatureSet) -> TopicSettings:
    """The table [topics], which may be absent; raises ProfileError."""
    table = file.table("topics", TOPICS)
    retention_us = _duration(table, "retention", max(LEAST_US, looks_back_us(features)))
    return TopicSettings(
        partitions=table.whole("partitions", TopicSettings().partitions),
        replication=table.whole("replication", 1) if "replication" in table.values else None,
        retention_us=retention_us,
        alerts_retention_us=_duration(table, "alerts_retention", retention_us),
        dead_letter_retention_us=_duration(table, "dead_letter_retention", 2 * retention_us),
    )


def looks_back_us(features: FeatureSet) -> int:
    """How far back the features' state reaches: to build it again, the log must hold so much."""
    windows = max((feature.window_us for feature in features.features), default=0)
    return max(windows, features.remember_us, features.label_horizon_us)


def _duration(table: Table, key: str, default_us: int) -> int:
    if key not in table.values:
        return default_us
    try:
        return duration_us(table.text(key))
    except ProfileError:
        raise
    except ValueError as error:
        raise table.error(f"{key} {error}", key) from error
