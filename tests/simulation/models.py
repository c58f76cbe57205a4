"""The synchronous way into the simulated log and out of it, as a learner uses it for the topic of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stream.records import TP, Outgoing, Record
from tests.simulation.faust import ProduceFailed

if TYPE_CHECKING:
    from tests.simulation.world import World


class SimPublisher:
    """As stream.records.Publisher has it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def publish(self, topic: str, records: Sequence[Outgoing]) -> None:
        if self._world.point("before publish") == "fail":
            raise ProduceFailed(f"{topic} took nothing")
        self._world.log.append(TP(topic, 0), records, self._world.now_ms)
        if self._world.point("after publish") == "fail":
            raise ProduceFailed(f"{topic} took it, and the answer was lost")

    def close(self) -> None:
        """Nothing to give back."""


class SimTail:
    """As stream.records.Tail has it."""

    def __init__(self, world: World) -> None:
        self._records = world.log.records[TP("models", 0)]
        self._end = len(self._records)
        self._at = 0

    def read(self) -> list[Record]:
        at, self._at = self._at, len(self._records)
        return self._records[at:]

    def at_end(self) -> bool:
        return self._at >= self._end

    def rewind(self) -> None:
        self._at, self._end = 0, len(self._records)

    def close(self) -> None:
        """Nothing to give back."""
