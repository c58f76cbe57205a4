"""What Faust itself knows of a role: its commits, its partitions, how far behind it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import faust
from faust.exceptions import ConsumerNotStarted

from stream.records import TP
from stream.watch import Reading, RoleWatch

COMMIT = "commit"


class Sensor(faust.Sensor):
    """Told by Faust whenever it commits, and whenever partitions are handed out."""

    def __init__(self, watch: RoleWatch, **kwargs: Any) -> None:
        """Tell `watch`."""
        super().__init__(**kwargs)
        self._watch = watch
        self._consumer: Any = None
        self._committed: dict[TP, int | None] = {}

    def on_commit_initiated(self, consumer: Any) -> float | None:
        """A commit begins; None where it has nothing new to commit, which is most of the time on an idle stream."""
        done = {tp: consumer.marks.after(tp) for tp in consumer.marks.partitions()}
        if done == self._committed:
            return None
        self._committed = done
        return time.perf_counter()

    def on_commit_completed(self, consumer: Any, state: float | None) -> None:
        """It is through."""
        if state is not None:
            self._watch.stages[COMMIT].add(time.perf_counter() - state)

    def on_rebalance_start(self, app: Any) -> dict[str, Any]:
        """Partitions are being handed out."""
        self._consumer = app.consumer
        self._watch.rebalances += 1
        return {}

    def on_rebalance_return(self, app: Any, state: dict[str, Any]) -> None:
        """Everybody in the group knows which are its own; a member beyond their number has none, and is ready too."""
        self._watch.assigned = True

    def readings(self) -> Iterator[Reading]:
        """What is known by now."""
        yield Reading("weir_rebalances", self._watch.rebalances)
        yield from self.lag()

    def lag(self) -> Iterator[Reading]:
        """By partition of this member: records that lie on the log, not done with; nothing before it has any."""
        for tp in self._assignment():
            end, reached = self._highwater(tp), self._consumer.marks.reached(TP(*tp))
            if end is not None and reached is not None:
                labels = {"topic": tp.topic, "partition": str(tp.partition)}
                yield Reading("weir_lag_records", max(0, end - reached), labels)

    def _assignment(self) -> list[Any]:
        try:
            return sorted(self._consumer.assignment()) if self._consumer is not None else []
        except ConsumerNotStarted:
            return []

    def _highwater(self, tp: Any) -> int | None:
        """The offset that the next record will get; None while nothing was fetched, or the partition is just given away."""
        try:
            end: int | None = self._consumer.highwater(tp)
        except AssertionError:  # aiokafka's way to say that the partition is not this member's
            return None
        return end


def attach(app: faust.App, watch: RoleWatch) -> None:
    """Let `watch` know what this app's Faust does."""
    sensor = Sensor(watch)
    app.sensors.add(sensor)
    watch.tell(sensor.readings)
    watch.ending = lambda: bool(app.should_stop)
