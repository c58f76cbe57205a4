"""A simulated Kafka: partitions, consumer groups with generations, commits that a later generation refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from stream.records import TP, Outgoing, Record

PARTITIONS = {
    "transactions": 2,
    "labels": 2,
    "decisions": 2,
    "alerts": 1,
    "transactions.dlq": 1,
    "labels.dlq": 1,
    "models": 1,
}


class Member(Protocol):
    """A consumer, as its group sees it."""

    generation: int
    changed: asyncio.Event
    placed: asyncio.Event


class SimLog:
    """All topics. What is appended is there, and wakes those who wait for it."""

    def __init__(self) -> None:
        self.records: dict[TP, list[Record]] = {
            TP(topic, part): [] for topic, count in PARTITIONS.items() for part in range(count)
        }
        self.groups: dict[str, Group] = {}
        self._waiting: list[Callable[[], None]] = []

    def append(self, tp: TP, records: Sequence[Outgoing], at_ms: int) -> None:
        """Put records behind the others of their partition."""
        held = self.records[tp]
        for each in records:
            held.append(Record(*tp, len(held), each.key, each.value, each.headers, at_ms))
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def on_append(self, wake: Callable[[], None]) -> None:
        """Call this once, at the next append."""
        self._waiting.append(wake)

    def of(self, topic: str) -> dict[TP, list[Record]]:
        """A topic's partitions."""
        return {tp: held for tp, held in self.records.items() if tp.topic == topic}

    def record_at(self, tp: TP, offset: int) -> Record | None:
        """As stream.records.Progress has it."""
        held = self.records[tp]
        return held[offset] if offset < len(held) else None

    def group(self, name: str) -> Group:
        """The consumer group of a name."""
        return self.groups.setdefault(name, Group())


class Group:
    """A consumer group: everybody gives up everything, then everybody is given some (eager rebalancing)."""

    def __init__(self) -> None:
        self.generation = 0
        self.refused = 0
        self.committed: dict[TP, int] = {}
        self.topics: tuple[str, ...] = ()
        self._members: list[Member] = []
        self._joined: set[Any] = set()
        self._placed: dict[Any, list[TP]] = {}
        self._rebalancing = False

    def rebalance(self) -> None:
        """Ask every member to give up what it has and to join again."""
        self._rebalancing = True
        for member in self._members:
            if member not in self._joined:
                member.changed.set()
        self._complete()

    def join(self, member: Member) -> None:
        """A member has given up what it had, or is new, and waits for its share."""
        member.changed.clear()
        member.placed.clear()
        self._joined.add(member)
        if member not in self._members:
            self._members.append(member)
            self.rebalance()
        self._complete()

    def leave(self, member: Member) -> None:
        """A member has gone, or has not been heard of for too long."""
        if member in self._members:
            self._members.remove(member)
            self._placed.pop(member, None)
            self._joined.discard(member)
            member.changed.set()  # so that one that was only asleep joins again,
            member.placed.set()  # also where it was waiting for its share
            self.rebalance()

    def _complete(self) -> None:
        if not self._rebalancing or not self._joined.issuperset(self._members):
            return
        self._rebalancing = False
        self._joined.clear()
        self.generation += 1
        tps = sorted(tp for tp in (TP(t, p) for t in self.topics for p in range(PARTITIONS[t])))
        count = len(self._members)
        self._placed = {
            member: [tp for tp in tps if (tp.partition + self.generation) % count == at]
            for at, member in enumerate(self._members)
        }
        for member in self._members:
            member.generation = self.generation
            member.placed.set()
            member.changed.clear()

    def share(self, member: Member) -> list[TP]:
        """What a member is to read."""
        return self._placed.get(member, [])

    def commit(self, member: Member, generation: int, offsets: Mapping[TP, int]) -> bool:
        """Keep a member's offsets; refused where it is no member any more, or speaks of an earlier generation."""
        if member not in self._members or generation != self.generation:
            self.refused += 1
            return False
        self.committed.update(offsets)
        return True
