"""What the stores must answer, computed entity by entity with matrices: a row for each event, a column for each record.

An oracle for a million events, where `oracle.Oracle` would take days; `test_exact.py` holds each to the other. It shares no code
with the stores. A column is seen by a row if it was applied before it, is not later than it by its own time, and had not left. No
entity may have more than `records` records in all: what becomes of those beyond is the other oracle's to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from zlib import crc32

import numpy as np

from features.catalogue import CURRENCY, DAY_US, HOUR_OF_DAY, WEEKDAY, Feature, FeatureSet
from features.events import Event, Transaction
from features.store import Status
from tests.contract.ledgers import Ledger
from tests.contract.matrix_values import FAR, OF_LABELS, Seen, alone, local_time, of_events, of_labels

Part = tuple[str, tuple[str, str], tuple[str, ...]]
"""An entity, and which of its events are meant."""

Key = tuple[str, ...]


class Look(NamedTuple):
    """How features look at the events, or the labels, of a part."""

    key: Callable[[Transaction], Key]  # under which the part knows an event; () for none
    inside: Callable[[Transaction], bool]  # whether it is one of the part's own
    longest: int
    keep: int  # what is so much older than the newest leaves
    idle: int
    labels: bool


@dataclass
class Group:
    """The life of one value of an entity: the items that read it, and its records, (place, time, tie) and what each is."""

    readers: list[int]
    records: list[
        tuple[float, int, int, int]
    ]  # behind which item it counts, its time, tie, and its item or label


class Matrices:
    """The answers to a schedule: `statuses`, `numbers`, `vectors` (a row an item) and `approximate`."""

    def __init__(self, features: FeatureSet, items: Sequence[Event]) -> None:
        self._features = features
        self._items = items
        self._ledger = ledger = Ledger(features, items)
        self.statuses, self.numbers = ledger.statuses, ledger.numbers
        self.vectors = np.full((len(items), len(features.features)), math.nan)
        self.approximate = np.zeros(len(items), dtype=bool)
        self._readers = [
            at for at, status in enumerate(ledger.statuses) if status in (Status.FRESH, Status.LATE)
        ]
        for column, feature in enumerate(features.features):
            if not feature.entity:
                self.vectors[self._readers, column] = [
                    alone(feature, items[at], features.timezone, partial(self._text, items[at]))
                    for at in self._readers
                ]
        for part in dict.fromkeys(part_of(each) for each in features.features if each.entity):
            self._tell(part, labels=False)
            self._tell(part, labels=True)
        for at, first in ledger.first.items():
            self.vectors[at], self.approximate[at] = self.vectors[first], self.approximate[first]

    def _tell(self, part: Part, *, labels: bool) -> None:
        """Fill in the features of a part that look at its events, or at its labels."""
        columns = [
            (column, each)
            for column, each in enumerate(self._features.features)
            if each.entity and part_of(each) == part and (each.kind in OF_LABELS) == labels
        ]
        if not columns:
            return
        longest = max(max(each.window_us, each.against_us) for _, each in columns)
        keep = longest + self._features.remember_us
        idle = max(keep, self._features.label_horizon_us) + DAY_US
        look = Look(self._key(part), self._inside(part), longest, keep, idle, labels)
        groups = self._labelled(look) if labels else self._grouped(look)
        for group in (each for each in groups if each.readers):
            seen = self._seen(group, look)
            self.approximate[seen.rows] |= seen.approximate
            for column, feature in columns:
                told = of_labels(feature, seen) if labels else of_events(feature, seen)
                self.vectors[seen.rows, column] = told

    # which items belong together

    def _grouped(self, look: Look) -> Iterator[Group]:
        """Groups of events; an item that finds no group alive is alone, or begins one."""
        alive: dict[Key, tuple[int, Group]] = {}
        for at in self._readers:
            event, clock = self._items[at], self._ledger.clocks[at]
            value = look.key(event)
            touched, group = alive.get(value, (0, None))
            if not value or group is None or clock - touched > look.idle:
                if group is not None and value:
                    yield alive.pop(value)[1]
                group = Group([], [])
            group.readers.append(at)
            if value and self.statuses[at] is Status.FRESH and look.inside(event):
                group.records.append((at, event.time_us, crc32(event.event_id.encode()), at))
                alive[value] = (clock, group)
            elif value not in alive:
                yield group
        for _, group in alive.values():
            yield group

    def _labelled(self, look: Look) -> Iterator[Group]:
        """Groups of labels, and the items that read them."""
        effects = self._ledger.effects
        counting = [(each.at, number) for number, each in enumerate(effects)]
        steps = sorted([*((float(at), -1) for at in self._readers), *counting])
        alive: dict[Key, tuple[int, Group]] = {}
        for place, number in steps:
            at = int(place)
            event = self._items[at if number < 0 else effects[number].event]
            value, clock = look.key(event), self._ledger.clocks[at]
            touched, group = alive.get(value, (0, None))
            if group is not None and clock - touched > look.idle:
                group = None
            if number < 0:
                if value and group is not None:
                    group.readers.append(at)
                else:
                    yield Group([at], [])
            elif value and look.inside(event):
                if group is None:
                    if value in alive:
                        yield alive[value][1]
                    group = Group([], [])
                effect = effects[number]
                group.records.append((place, effect.arrived, effect.tie, number))
                alive[value] = (clock, group)
        for _, group in alive.values():
            yield group

    def _seen(self, group: Group, look: Look) -> Seen:
        assert len(group.records) <= self._features.records, (
            "more records of an entity than the matrices are for"
        )
        rows, readers = [self._items[at] for at in group.readers], np.array(group.readers)
        columns = sorted(group.records, key=lambda each: (each[1], each[2], each[0]))
        places = np.array([each[0] for each in columns], dtype=float)
        times = np.array([each[1] for each in columns], dtype=np.int64)
        nows = np.array([each.arrived_us if look.labels else each.time_us for each in rows])
        before = places[None, :] < readers[:, None]
        newest = np.where(before, times[None, :], -FAR).max(axis=1, initial=-FAR)
        left = before & (times[None, :] <= (newest - look.keep)[:, None])
        visible = before & ~left & (times[None, :] <= nows[:, None])
        floor = np.where(left, times[None, :], -FAR).max(axis=1, initial=-FAR)
        first = np.where(before, times[None, :], FAR).min(axis=1, initial=FAR)
        whats = [self._ledger.effects[each[3]] if look.labels else self._items[each[3]] for each in columns]
        named = np.array([bool(look.key(each)) and look.inside(each) for each in rows])
        for column, effect in enumerate(whats if look.labels else ()):
            for behind, until in effect.corrections:
                visible[:, column] &= ~((behind < readers) & (until <= nows))
        approximate = floor > nows - look.longest
        return Seen(readers, rows, whats, times, nows, visible, named, floor, first, approximate, self._text)

    # fields

    def _key(self, part: Part) -> Callable[[Transaction], Key]:
        index, same = self._features.entities.index(part[0]), part[2]

        def key(event: Transaction) -> Key:
            texts = (event.entities[index], *(self._text(event, name) for name in same))
            return texts if all(texts) else ()

        return key

    def _inside(self, part: Part) -> Callable[[Transaction], bool]:
        name, wanted = part[1]
        return lambda event: not name or self._text(event, name) == wanted

    def _text(self, event: Transaction, name: str) -> str:
        if name in self._features.entities:
            return event.entities[self._features.entities.index(name)]
        match name:
            case _ if name == CURRENCY:
                return event.currency
            case _ if name == HOUR_OF_DAY:
                return str(local_time(event.time_us, self._features.timezone).hour)
            case _ if name == WEEKDAY:
                return str(local_time(event.time_us, self._features.timezone).weekday())
        return str(event.fields.get(name, ""))


def part_of(feature: Feature) -> Part:
    return feature.entity, feature.where, feature.same
