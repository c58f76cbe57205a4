"""Kafka as its administrator sees it, with kafka-python: topics, their settings, groups, and who may do what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

import msgspec
from kafka import TopicPartition
from kafka.admin import (
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    OffsetSpec,
)
from kafka.errors import GroupAuthorizationFailedError, RetriableError, TopicAlreadyExistsError

from stream.kafka import CONNECT_MS, BrokerError, servers_of, told
from stream.security import IN_THE_CLEAR, KafkaSecurity
from stream.topics import Topic

PATIENCE_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Waits between attempts: a fresh cluster makes its topic of offsets at the first question for it."""

T = TypeVar("T")


class Group(msgspec.Struct, frozen=True):
    """A consumer group: its state in Kafka's words, its members, and the offsets it committed."""

    name: str
    state: str  # "Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "Dead"
    members: tuple[str, ...]  # where they run
    committed: Mapping[tuple[str, int], int]  # (topic, partition) -> the next offset


class KafkaAdmin:
    """An open connection; use it in a with block. What Kafka refuses is raised as BrokerError, with the mend."""

    def __init__(self, url: str, security: KafkaSecurity = IN_THE_CLEAR) -> None:
        """Connect to the brokers of a kafka:// URL."""
        self._url = url
        self._security = security
        with self._told():
            self._client = KafkaAdminClient(
                bootstrap_servers=servers_of(url), bootstrap_timeout_ms=CONNECT_MS, **security.client()
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """Those of these topics that exist."""
        with self._told():
            found = {each["name"]: each for each in self._described(names) if not each["error_code"]}
            if not found:
                return {}
            asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
            settings = self._client.describe_configs(asked, config_filter="all")["topic"]
        return {name: _topic(each, settings.get(name, {})) for name, each in found.items()}

    def operations(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What this user may do with those of these topics that it may see: "READ", "WRITE", ..."""
        with self._told():
            return {
                each["name"]: tuple(each["authorized_operations"])
                for each in self._described(names)
                if not each["error_code"]
            }

    def _described(self, names: Iterable[str]) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = self._client.describe_topics(sorted(names))
        return described

    def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """By topic that exists: how many partitions it has."""
        with self._told():
            described = self._described(names)
        return {each["name"]: len(each["partitions"]) for each in described if not each["error_code"]}

    def create(self, topics: Iterable[Topic]) -> None:
        """Make topics; one that somebody else made in the meantime stays as it is."""
        made = list(topics)
        for topic in made:
            asked = {
                "num_partitions": topic.partitions,
                "replication_factor": topic.replication,
                "configs": dict(topic.settings),
            }
            with self._told():
                try:
                    self._client.create_topics({topic.name: asked})
                except TopicAlreadyExistsError:
                    continue
        if made:
            with self._told():
                self._client.wait_for_topics([topic.name for topic in made])

    def change(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        """Give topics other settings."""
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, dict(new)) for name, new in settings.items()
        ]
        if not resources:
            return
        with self._told():
            answers = self._client.alter_configs(resources)["topic"]
        refused = {name: answer for name, answer in answers.items() if answer != "OK"}
        if refused:
            raise BrokerError(f"Kafka did not change the settings of {_listed(refused)}")

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Give topics more partitions."""
        if partitions:
            with self._told():
                self._client.create_partitions(dict(partitions))

    def ends(self, partitions: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset that the next record will get."""
        return self._offsets(partitions, OffsetSpec.LATEST)

    def starts(self, partitions: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """By topic and partition: the oldest offset that is still there."""
        return self._offsets(partitions, OffsetSpec.EARLIEST)

    def _offsets(self, partitions: Mapping[str, int], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = {
            TopicPartition(name, part): spec for name, count in partitions.items() for part in range(count)
        }
        if not asked:
            return {}
        with self._told():
            found = self._client.list_partition_offsets(asked)
        return {(tp.topic, tp.partition): each.offset for tp, each in found.items()}

    def groups(self, names: Sequence[str]) -> dict[str, Group]:
        """What Kafka knows of these consumer groups; one that never was is "Dead"."""
        with self._told():
            described = _patiently(lambda: self._client.describe_groups(list(names)))
            committed = _patiently(lambda: self._client.list_group_offsets(dict.fromkeys(names)))
        return {name: _group(name, described[name], committed.get(name, {})) for name in names}

    def group_operations(self, name: str) -> tuple[str, ...] | None:
        """What this user may do with a consumer group; None where Kafka does not tell (of one that never was)."""
        with self._told():
            try:
                described = _patiently(lambda: self._client.describe_groups([name]))[name]
            except GroupAuthorizationFailedError:
                return ()
        if "GroupAuthorizationFailed" in str(described.get("error")):
            return ()
        operations = described.get("authorized_operations")
        return None if operations is None else tuple(operations)

    def _told(self) -> AbstractContextManager[None]:
        return told(self._url, self._security)


def _topic(described: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> Topic:
    partitions = described["partitions"]
    copies = min((len(each["replica_nodes"]) for each in partitions), default=0)
    plain = {name: str(each["value"]) for name, each in settings.items() if each["value"] is not None}
    return Topic(described["name"], len(partitions), copies, plain)


def _group(name: str, described: Mapping[str, Any], committed: Mapping[TopicPartition, Any]) -> Group:
    return Group(
        name,
        described.get("group_state") or described.get("state") or "Dead",
        tuple(str(member["client_host"]).lstrip("/") for member in described.get("members", ())),
        {(tp.topic, tp.partition): each.offset for tp, each in committed.items() if each.offset >= 0},
    )


def _patiently(ask: Callable[[], T]) -> T:
    for wait in PATIENCE_S:
        try:
            return ask()
        except RetriableError:
            time.sleep(wait)
    return ask()


def _listed(refused: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {answer}" for name, answer in sorted(refused.items()))
