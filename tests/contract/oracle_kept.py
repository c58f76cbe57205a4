"""What the oracle keeps: records of an entity, what was folded of them, and event ids."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import groupby

from features.events import Label, Transaction
from features.store import Applied


@dataclass
class Record:
    """A transaction at its time, or a label at its arrival."""

    time: int
    tie: int
    what: Transaction | Label
    until: float = math.inf  # a label counts no more from here on

    @property
    def place(self) -> tuple[int, int]:
        return self.time, self.tie


@dataclass
class Entity:
    """What is kept of one value of an entity."""

    records: list[Record] = field(default_factory=list)
    first: float = math.inf
    left_frauds: list[int] = field(default_factory=list)
    gone: list[tuple[int, int]] = field(default_factory=list)
    folded: list[Record] = field(default_factory=list)
    touched: int = 0

    def buckets(self, shortest: int) -> list[list[Record]]:
        """The folded records that are one: each is in the largest cell of time that ended 64 of its spans ago."""
        newest, least = self.records[-1].time, 1
        while least * 2 * 64 <= shortest:
            least *= 2

        def cell(record: Record) -> tuple[int, int]:
            span = least
            while (record.time // (2 * span) + 1 + 64) * 2 * span <= newest:
                span *= 2
            return span, record.time // span

        return [list(group) for _, group in groupby(sorted(self.folded, key=lambda each: each.place), cell)]


@dataclass
class Known:
    """An event id."""

    stamp: int
    event: Transaction | None = None
    applied: Applied | None = None
    labels: dict[str, tuple[Label, int]] = field(default_factory=dict)
