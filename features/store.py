"""The feature store's contract, and the store in memory that is its reference.

A store applies a batch of events and labels in order and answers each with its features. ``redis_store`` gives the
same bits: ``tests/contract/test_feature_store.py`` holds both to it.

The store's clock is the latest arrival that it was given. By it ids and idle entities are forgotten; windows look at
the event's own times only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from features.carried import UNTOLD, Carried, Carrying, CarryingStore
from features.catalogue import FeatureSet
from features.compute import Plan
from features.entity_plan import EntityPlan
from features.events import Event, Label, Transaction
from features.folds import NEVER
from features.ids import IdMemory, Remembered, Said, label_key, tie_of
from features.labelled import LabelLog
from features.shelf import Shelf
from features.states import States, StatesInMemory
from features.windows import Log, Shape

NOWHERE: Mapping[str, int] = {}


class Status(StrEnum):
    """What applying one event did."""

    FRESH = "fresh"  # a transaction applied for the first time
    DUPLICATE = (
        "duplicate"  # this id was applied before with this body: nothing changed, the first features again
    )
    CONFLICT = "conflict"  # this id was applied before with another body: nothing changed, no features
    LATE = "late"  # older than the profile's `remember`, or read again after it: features as of now, nothing changed
    LABELLED = "labelled"  # a label took effect
    LABEL_DUPLICATE = "label_duplicate"  # this label id was applied to this event before
    LABEL_PENDING = "label_pending"  # its event is not known (yet): it takes effect when the event arrives
    LABEL_LATE = "label_late"  # longer after its event than the profile's `label_horizon`, or read again: nothing changed


class Applied(msgspec.Struct, frozen=True, gc=False):
    """A store's answer for one event of a batch."""

    status: Status
    seq: int  # the order in which the store applied it (of a known id: its first); 0 where nothing was ever applied
    vector: tuple[
        float, ...
    ]  # the features, in the order of FeatureSet.names; empty for labels and conflicts
    approximate: bool = False  # a window was longer than the profile's bound of records per entity
    error: float = 0.0  # then: how much of a window's count is uncertain at most; 1.0: nothing is known
    shards: Mapping[str, int] = NOWHERE  # on a cluster: see shards.numbers_of
    carried: Carried | None = None  # of the event's value, as it was before the batch; see carried.py
    told: float = UNTOLD  # what the network answered first to this id, NaN if it did not
    number: int = 0  # where something is carried: in the order of the value's events; 0 as in seq


class Source(NamedTuple):
    """Where a batch comes from: a run of one partition of a log."""

    topic: str
    partition: int
    before: int  # the offset behind the batch applied before it, or the one from which this partition is read
    after: int  # the offset behind this batch
    offsets: Sequence[int] = ()  # of each event; where none are told, each may be the batch's last

    def offset_of(self, index: int) -> int:
        """Where an event of the batch lies, at most."""
        return self.offsets[index] if self.offsets else self.after - 1


class Run(NamedTuple):
    """Events and labels in their order, and where they come from."""

    events: Sequence[Event]
    source: Source | None = None


class StoreUnavailable(RuntimeError):
    """The store cannot be reached, or cannot be relied on; the message says what to do."""


class StoreBehind(RuntimeError):
    """The store lost what it had acknowledged: the batch follows events that it does not hold. Nothing was applied."""

    def __init__(self, source: Source, stored: int, seq: int) -> None:
        """`stored` is how far the store holds the partition, `seq` how much it has applied in all."""
        super().__init__(
            f"the feature store has lost what it had applied: it holds {source.topic}[{source.partition}] up to "
            f"offset {stored} (and {seq} events and labels in all), and was given what follows {source.before}; "
            "nothing of it was applied. A restart reads the log again from there"
        )
        self.topic, self.partition, self.stored = source.topic, source.partition, stored


class Batch(Protocol):
    """Runs on their way through a store: made by any thread, applied in order, answered by any thread."""

    def apply(self) -> None:
        """What counts. Raises what `FeatureStore.apply_many` does."""
        ...

    def answers(self) -> list[Applied]:
        """What became of each event, once it is applied."""
        ...


class FeatureStore(CarryingStore, Protocol):
    """Online features of entities, and what networks carry of them, updated and read by the batch."""

    def apply(self, batch: Sequence[Event], source: Source | None = None) -> list[Applied]:
        """Apply events and labels in this order, atomically per event, and answer each; one round trip at most.

        Applying a batch again, whole or in part, changes nothing. Raises StoreUnavailable; how much of the batch
        was applied is then unknown, and applying it again is the mend.

        The store keeps how far it has applied each source's partition; this never goes back. Raises StoreBehind where
        it holds less than what came before this batch, and then nothing has changed. A batch may be empty: its
        records were none for the store. What lies below that place was applied before: an id of it that is unknown
        (its memory has ended, or it was refused, or late) counts no second time, but is late.
        """
        ...

    def apply_many(self, runs: Sequence[Run]) -> list[Applied]:
        """`apply` for several runs at once, one after the other, still in one round trip; an answer for each event.

        Raises StoreBehind where one of them is refused: of it and of those behind it nothing was applied, of those
        before it perhaps something.
        """
        ...

    def batch(self, runs: Sequence[Run]) -> Batch:
        """`apply_many` in three steps, so that the server need not wait for Python nor Python for the server."""
        ...

    def positions(self) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset behind the last that was applied. What is not there was never applied."""
        ...

    def forget(self, entity: str, value: str) -> bool:
        """Drop what is known of one value of an entity; whether anything was. Forgetting again changes nothing.

        What other entities counted of it stays, as do the ids of its events, so that none counts twice; a label that
        comes for one of them later counts for the value again. Raises ValueError for an entity that the features do
        not have, and StoreUnavailable.
        """
        ...

    def close(self) -> None:
        """Give back connections; the state stays where it is."""
        ...


class InMemoryFeatureStore(StatesInMemory):
    """The reference: exact features in this process's memory, as large as the windows, not as the stream."""

    def __init__(self, feature_set: FeatureSet, hash_key: bytes = b"") -> None:
        """Raises ValueError for a set that cannot be kept. `hash_key` keys nothing here: no digest leaves memory."""
        self._plan = Plan(feature_set)
        self._remember_us = feature_set.remember_us
        self._horizon_us = feature_set.label_horizon_us
        self._ids = IdMemory(self._plan.memory_us)
        plan = self._plan
        self._parts = [_Part(*each) for each in zip(plan.entities, plan.keys, plan.inside, strict=True)]
        self._owning = [part for part in self._parts if part.labels is not None]
        self._seq = 0
        self._clock = NEVER
        self._positions: dict[tuple[str, int], int] = {}
        self._states = States(plan, self._ids)
        self._carrying: Carrying | None = None  # of the batch that is applied

    def apply(self, batch: Sequence[Event], source: Source | None = None) -> list[Applied]:
        """Apply events and labels in this order, and answer each."""
        return self.apply_many([Run(batch, source)])

    def _run(self, batch: Sequence[Event], source: Source | None) -> list[Applied]:
        held = self._follow(source) if source is not None else 0
        return [
            self._applied(event, source is not None and source.offset_of(index) < held)
            for index, event in enumerate(batch)
        ]

    def _applied(self, event: Event, again: bool) -> Applied:
        self._clock = max(self._clock, event.arrived_us)
        if isinstance(event, Transaction):
            return self._transaction(event, again)
        return self._label(event, again)

    def apply_many(self, runs: Sequence[Run]) -> list[Applied]:
        """Apply runs in this order, and answer each event."""
        return self._all(runs, self._states.carrying)

    def _all(self, runs: Sequence[Run], carrying: Carrying | None) -> list[Applied]:
        self._write_back()
        self._carrying = carrying
        return [answer for run in runs for answer in self._run(*run)]

    def _write_back(self) -> None:
        """Write the states that wait."""
        lost = self._states.write(self._clock)
        if lost is not None:
            raise StoreBehind(*lost, self._seq)

    def batch(self, runs: Sequence[Run]) -> Batch:
        """Nothing is to be prepared."""
        carrying = self._states.carrying
        return AtOnce(lambda: self._all(runs, carrying))

    def positions(self) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset behind the last that was applied."""
        return dict(self._positions)

    def _follow(self, source: Source) -> int:
        """How far the partition was held; from now on it is held to the end of the batch."""
        place = (source.topic, source.partition)
        stored = self._positions.get(place, 0)
        if stored < source.before:
            raise StoreBehind(source, stored, self._seq)
        self._positions[place] = max(stored, source.after)
        return stored

    def forget(self, entity: str, value: str) -> bool:
        """Drop what is known of one value of an entity; whether anything was."""
        index = self._plan.index_of(entity)
        dropped = [part.forget(value) for part in self._parts if part.index == index]
        return any([*dropped, self._states.forget(entity, value)])

    def close(self) -> None:
        """Nothing to give back."""

    def _transaction(self, event: Transaction, again: bool) -> Applied:
        clock = self._clock
        known = self._ids.find(event.event_id, clock)
        if known is not None and known.seq:
            return self._again(event, known)
        if again or event.arrived_us - event.time_us > self._remember_us:
            return self._late(event)
        self._seq += 1
        raw, approximate = self._fresh(event)
        entry = Remembered(
            clock,
            self._seq,
            event.arrived_us,
            event.body,
            approximate,
            list[int | str](raw),
            [part.owner(event) for part in self._owning],
        )
        for said in known.said if known is not None else ():
            if said.arrived_us - event.arrived_us <= self._horizon_us:
                self._say(entry, said)
        self._ids.keep(event.event_id, entry)
        return self._answer(Status.FRESH, entry, event, raw, approximate)

    def _again(self, event: Transaction, known: Remembered) -> Applied:
        if known.body != event.body:
            return Applied(Status.CONFLICT, known.seq, ())
        raw = [int(each) for each in known.raw]
        return self._answer(Status.DUPLICATE, known, event, raw, known.approximate)

    def _answer(
        self, status: Status, entry: Remembered, event: Transaction, raw: Sequence[int], approximate: bool
    ) -> Applied:
        error = self._plan.error(raw) if approximate else 0.0
        vector, carrying = self._plan.vector(event, raw), self._carrying
        if carrying is None:
            return Applied(status, entry.seq, vector, approximate, error)
        carried = self._states.seen(carrying, event, entry, self._clock)
        return Applied(status, entry.seq, vector, approximate, error, NOWHERE, *carried)

    def _fresh(self, event: Transaction) -> tuple[list[int], bool]:
        raw: list[int] = []
        approximate = False
        tie = tie_of(event.event_id)
        values = self._values(event)
        for part in self._parts:
            approximate |= part.add(event, tie, values, self._clock, raw)
        return raw, approximate

    def _late(self, event: Transaction) -> Applied:
        raw: list[int] = []
        approximate = False
        values = self._values(event)
        for part in self._parts:
            approximate |= part.peek(event, values, self._clock, raw)
        return self._answer(Status.LATE, Remembered(self._clock), event, raw, approximate)

    def _values(self, event: Transaction) -> list[int]:
        # Python's hash has 64 bits and lives as long as this store; 0 stands for no value.
        return [hash(value) if value else 0 for value in self._plan.values(event)] + self._plan.places(event)

    def _label(self, label: Label, again: bool) -> Applied:
        clock = self._clock
        entry = self._ids.find(label.event_id, clock)
        key = label_key(label.event_id, label.label_id)
        known = entry.said_by(key) if entry is not None else None
        if known is not None:
            return Applied(Status.LABEL_DUPLICATE, known.seq, ())
        if again or (
            entry is not None and entry.seq and label.arrived_us - entry.arrived_us > self._horizon_us
        ):
            return Applied(Status.LABEL_LATE, 0, ())
        self._seq += 1
        reverses = label_key(label.event_id, label.reverses) if label.reverses is not None else b""
        said = Said(key, tie_of(label.label_id), label.fraud, label.arrived_us, self._seq, reverses)
        if entry is None:
            self._ids.keep(label.event_id, Remembered(clock, said=[said]))
            return Applied(Status.LABEL_PENDING, self._seq, ())
        if not entry.seq:
            entry.said.append(said)
            self._ids.change(label.event_id, entry)
            return Applied(Status.LABEL_PENDING, self._seq, ())
        self._say(entry, said)
        self._ids.change(label.event_id, entry)
        return Applied(Status.LABELLED, self._seq, ())

    def _say(self, entry: Remembered, said: Said) -> None:
        """Add a label to the logs of its event's entities, and to what the event remembers."""
        earlier = entry.said_by(said.reverses) if said.reverses else None
        corrections = [each.arrived_us for each in entry.said if each.reverses == said.key]
        entry.said.append(said)
        for part, owner in zip(self._owning, entry.owners, strict=True):
            if owner:
                part.say(owner, said, self._clock, earlier, min(corrections, default=None))


class AtOnce:
    """A batch of a store that does everything when it applies."""

    def __init__(self, call: Callable[[], list[Applied]]) -> None:
        """`call` does it, and gives the answers; nothing happens yet."""
        self._call = call
        self._answers: list[Applied] = []

    def apply(self) -> None:
        """All of it."""
        self._answers = self._call()

    def answers(self) -> list[Applied]:
        """What the store said."""
        return self._answers


def _before(log: Log, shape: Shape, time: int) -> list[int]:
    """What is told of the records before an event, as `EntityPlan` says."""
    before = [log.last(time)]
    if shape.first:
        before.append(log.began(time))
    before += log.place(time)
    return before + log.recent(time, shape.recent) if shape.recent else before


class _Part:
    """One part of an entity: its logs, and how an event is applied to them."""

    def __init__(
        self,
        entity: EntityPlan,
        key: Callable[[Transaction], tuple[str, str]],
        inside: Callable[[Transaction], bool] | None,
    ) -> None:
        self.index = entity.index
        self.events = Shelf(entity.events, Log) if entity.events else None
        self.labels = Shelf(entity.labels, LabelLog) if entity.labels else None
        self._absent, self._unsaid = entity.absent, entity.unsaid
        self._of_events = entity.said - entity.start
        self._key, self._inside = key, inside

    def _is_record(self, event: Transaction) -> bool:
        """Whether an event that the part knows is one of its own."""
        return self._inside is None or self._inside(event)

    def add(self, event: Transaction, tie: int, values: Sequence[int], clock: int, raw: list[int]) -> bool:
        """Add an event to the logs of its value and answer into raw; whether the answer is approximate."""
        key = self._known_as(event)
        if not key:
            raw += self._absent
            return False
        error = None
        if self.events is not None:
            record = self._is_record(event)
            log = self.events.touch(key, clock) if record else self.events.find(key, clock)
            error = self._read(log, event, tie if record else None, values, raw)
        return _told_error(error, self._labels(key, event.arrived_us, clock, raw), raw)

    def _read(
        self, log: Log | None, event: Transaction, tie: int | None, values: Sequence[int], raw: list[int]
    ) -> int | None:
        """With a `tie` it is a record of the log, too. Gives what `Log.beyond` does."""
        assert self.events is not None
        if log is None:
            raw += self._absent[: self._of_events]
            return None
        shape, time, start = self.events.shape, event.time_us, len(raw)
        before = _before(log, shape, time)
        if tie is not None:
            log.insert(shape, time, tie, event.amount, values)
        log.read(shape, time, raw, values)
        error = log.beyond(shape, time, raw, start)
        raw += before
        if tie is not None:
            log.trim(shape)
        return error

    def peek(self, event: Transaction, values: Sequence[int], clock: int, raw: list[int]) -> bool:
        """`add`, changing nothing."""
        key = self._known_as(event)
        if not key:
            raw += self._absent
            return False
        error = None
        if self.events is not None:
            shape, time, start = self.events.shape, event.time_us, len(raw)
            log = self.events.find(key, clock) or Log(shape)
            log.peek(shape, time, raw, values, event.amount if self._is_record(event) else None)
            error = log.beyond(shape, time, raw, start)
            raw += _before(log, shape, time)
        return _told_error(error, self._labels(key, event.arrived_us, clock, raw), raw)

    def owner(self, event: Transaction) -> str:
        """For which key the labels of an event count; "" for none."""
        return self._known_as(event) if self._is_record(event) else ""

    def _known_as(self, event: Transaction) -> str:
        value, shared = self._key(event)
        return f"{value}\0{shared}" if shared else value

    def forget(self, value: str) -> bool:
        """Drop the logs of a value; whether there were any."""
        dropped = [shelf.drop(value) for shelf in (self.events, self.labels) if shelf is not None]
        return any(dropped)

    def say(self, value: str, said: Said, clock: int, earlier: Said | None, until: int | None) -> None:
        """Add a label; it takes back an `earlier` one, and is taken back itself from `until` on."""
        assert self.labels is not None
        shape, log = self.labels.shape, self.labels.touch(value, clock)
        log.insert(shape, said.arrived_us, said.tie, said.fraud)
        if earlier is not None:
            log.take_back(earlier.key, earlier.arrived_us, earlier.tie, earlier.fraud, said.arrived_us)
        if until is not None:
            log.take_back(said.key, said.arrived_us, said.tie, said.fraud, until)
        log.trim(shape)

    def _labels(self, value: str, now: int, clock: int, raw: list[int]) -> int | None:
        if self.labels is None:
            return None
        shape, log, start = self.labels.shape, self.labels.find(value, clock), len(raw)
        if log is None:
            raw += self._unsaid
            return None
        log.read_labels(shape, now, raw)
        return log.beyond(shape, now, raw, start)


def _told_error(of_events: int | None, of_labels: int | None, raw: list[int]) -> bool:
    """The last number that a part answers; whether there is an error to tell of."""
    raw.append(max(of_events or 0, of_labels or 0))
    return of_events is not None or of_labels is not None
