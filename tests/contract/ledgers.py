"""What becomes of each item of a long schedule, for the oracle of matrices: which count, which are late or repeated.

One pass in the order of applying, which knows ids, horizons and clocks, and no window. It shares no code with the stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from features.catalogue import FeatureSet
from features.events import Event, Label, Transaction
from features.store import Status


class Effect(NamedTuple):
    """A label that counts for the entities of its event."""

    at: float  # the item behind which it counts; half a place behind, since the item itself does not see it
    event: int  # the item that is its event
    fraud: bool
    arrived: int
    tie: int
    corrections: list[tuple[float, int]]  # behind which item, and from when on, it counts no more


@dataclass
class Ids:
    """What is known of an event id."""

    stamp: int
    item: int = -1  # of its event; -1: only labels came
    waiting: list[tuple[Label, int]] = field(default_factory=list)  # for the event; with their numbers
    labels: dict[str, int] = field(default_factory=dict)  # by label id the number that was given
    effects: dict[str, list[Effect]] = field(default_factory=dict)
    said: list[tuple[Label, float]] = field(default_factory=list)


class Ledger:
    """The statuses and numbers of all items, the first answer of a repeated one, and the labels that count."""

    def __init__(self, features: FeatureSet, items: Sequence[Event]) -> None:
        self._features = features
        self._items = items
        self._known: dict[str, Ids] = {}
        self._seq = 0
        self.clocks: list[int] = []  # the latest arrival, each item's own included
        self.statuses: list[Status] = []
        self.numbers: list[int] = []
        self.first: dict[int, int] = {}  # repeated item -> the item whose answer it gets
        self.effects: list[Effect] = []  # in the order in which they count
        for at, item in enumerate(items):
            self.clocks.append(max(item.arrived_us, self.clocks[-1] if at else 0))
            entry = self._find(item.event_id)
            status, number = self._label(at, item, entry) if isinstance(item, Label) else self._event(at, item, entry)  # fmt: skip
            self.statuses.append(status)
            self.numbers.append(number)

    def _find(self, event_id: str) -> Ids | None:
        entry = self._known.get(event_id)
        memory = max(self._features.remember_us, self._features.label_horizon_us)
        return entry if entry is not None and self.clocks[-1] - entry.stamp <= memory else None

    def _number(self) -> int:
        self._seq += 1
        return self._seq

    def _event(self, at: int, event: Transaction, entry: Ids | None) -> tuple[Status, int]:
        if entry is not None and entry.item >= 0:
            first = self._items[entry.item]
            assert isinstance(first, Transaction)
            if first.body != event.body:
                return Status.CONFLICT, self.numbers[entry.item]
            self.first[at] = entry.item
            return Status.DUPLICATE, self.numbers[entry.item]
        if event.arrived_us - event.time_us > self._features.remember_us:
            return Status.LATE, 0
        number = self._number()
        fresh = self._known[event.event_id] = Ids(self.clocks[-1], at)
        for label, its in entry.waiting if entry is not None else ():
            if label.arrived_us - event.arrived_us <= self._features.label_horizon_us:
                self._say(at, fresh, label, its)
        return Status.FRESH, number

    def _label(self, at: int, label: Label, entry: Ids | None) -> tuple[Status, int]:
        if entry is not None and label.label_id in entry.labels:
            return Status.LABEL_DUPLICATE, entry.labels[label.label_id]
        if entry is not None and entry.item >= 0:
            event = self._items[entry.item]
            if label.arrived_us - event.arrived_us > self._features.label_horizon_us:
                return Status.LABEL_LATE, 0
            number = self._number()
            self._say(at, entry, label, number)
            return Status.LABELLED, number
        number = self._number()
        if entry is None:
            entry = self._known[label.event_id] = Ids(self.clocks[-1])
        entry.waiting.append((label, number))
        entry.labels[label.label_id] = number
        return Status.LABEL_PENDING, number

    def _say(self, at: int, entry: Ids, label: Label, number: int) -> None:
        """It counts from here on; a correction takes effect with the later of the two."""
        behind = at + 0.5
        corrections = [(behind, each.arrived_us) for each, _ in entry.said if each.reverses == label.label_id]
        tie = crc32(label.label_id.encode())
        effect = Effect(behind, entry.item, label.fraud, label.arrived_us, tie, corrections)
        self.effects.append(effect)
        entry.labels[label.label_id] = number
        if label.reverses is not None and label.reverses != label.label_id:
            for each in entry.effects.get(label.reverses, ()):
                each.corrections.append((behind, label.arrived_us))
        entry.said.append((label, behind))
        entry.effects.setdefault(label.label_id, []).append(effect)
