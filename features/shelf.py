"""What a store in memory keeps of each value of an entity, until the value has been idle for too long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from features.windows import Shape


class Shelved(Protocol):
    """What a shelf holds of one value."""

    touched: int  # the store's clock when something was added last
    epoch: int  # the shelf's own: in which of its epochs that was


AnyLog = TypeVar("AnyLog", bound=Shelved)


class Shelf(Generic[AnyLog]):
    """The logs of all values of one entity, least recently added to (by epochs) first."""

    def __init__(self, shape: Shape, kind: Callable[[Shape], AnyLog]) -> None:
        """Without any log."""
        self.shape = shape
        self._epoch_us = shape.idle_us // 4
        self._kind = kind
        self._logs: OrderedDict[str, AnyLog] = OrderedDict()

    def __len__(self) -> int:
        return len(self._logs)

    def find(self, value: str, clock: int) -> AnyLog | None:
        """The log of a value; None if there is none, or it has been idle for too long."""
        log = self._logs.get(value)
        return log if log is not None and clock - log.touched <= self.shape.idle_us else None

    def touch(self, value: str, clock: int) -> AnyLog:
        """The log of a value to add to, a new one if need be."""
        log = self.find(value, clock)
        if log is None:
            self._logs[value] = log = self._kind(self.shape)
        log.touched = clock
        epoch = clock // self._epoch_us
        if log.epoch != epoch:
            log.epoch = epoch
            self._logs.move_to_end(value)
            self._drop_idle(clock)
        return log

    def drop(self, value: str) -> bool:
        """Forget a value's logs, those that are shared with another value included; whether there were any."""
        found = [each for each in self._logs if each == value or each.startswith(f"{value}\0")]
        for each in found:
            del self._logs[each]
        return bool(found)

    def _drop_idle(self, clock: int) -> None:
        """Drop at most two: more than a touch can add, and no pause."""
        for _ in range(2):
            oldest, log = next(iter(self._logs.items()))
            if clock - log.touched <= self.shape.idle_us:
                return
            del self._logs[oldest]
