"""Where a training's rows come from: a file, through the same features as live, or the decisions that were logged.

Both give events in the order in which they arrived, with the features that they had then, and no label that had not arrived
by the time of training. Rows are kept flat, four bytes a feature, since a history may have many millions.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np

from features.catalogue import FeatureSet
from features.events import Label, Transaction
from features.sequence_settings import SequenceSettings
from features.store import Applied, FeatureStore, Status
from models.lives import FRAUD, LEGITIMATE, UNKNOWN, Rows, codes
from stream.files import EventFile, Refused
from stream.grounds import DEGRADED
from stream.labels import vector_of
from stream.replay import BATCH

Vector = Sequence[float]

SKIPPED = {
    Status.DUPLICATE: "are repeated",
    Status.CONFLICT: "repeat another event's id",
    Status.LATE: "are late, and move no state",
}


class GatherError(Exception):
    """Nothing was found to learn from; the text says what to do."""


class Logged(msgspec.Struct, gc=False):
    """The part of a decision that a training reads."""

    event_id: str
    arrived_us: int
    seq: int
    rung: str
    features_version: str
    features: dict[str, float | None]
    entities: dict[str, str]  # as they may be kept: a pseudonym where they are personal
    late: bool = False
    warming: tuple[str, ...] = ()


class Past(Protocol):
    """Decisions and labels of the past (stream.review.logged.Past)."""

    def decisions(self, until_us: int) -> Iterator[Sequence[Logged]]:
        """Those of events that arrived before `until_us`."""
        ...

    def labels(self, until_us: int) -> Mapping[str, bool]:
        """By event: what the newest label said that had arrived before `until_us`."""
        ...

    def hashes(self) -> Mapping[str, Mapping[str, str]]:
        """By version of a feature set: what each feature measured."""
        ...


class Gathered(msgspec.Struct, frozen=True):
    """Rows, and what was left out and why."""

    rows: Rows
    until_us: int  # the time of training: what arrived then or later is not there
    left_out: dict[str, int]


class Flat:
    """Rows as they come, in columns that grow."""

    def __init__(self, names: Sequence[str]) -> None:
        """Of vectors whose features have these names."""
        self._names = tuple(names)
        self._vectors, self._cards = array("f"), array("i")
        self._times, self._labels = array("q"), array("b")
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._times)

    def add(self, vectors: Sequence[Vector], cards: Sequence[str], times: Sequence[int]) -> None:
        """Events whose labels are not known yet."""
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            self._vectors.frombytes(np.asarray(vectors, np.float64).astype(np.float32).tobytes())
        self._cards.extend(codes(cards, self._numbers))
        self._times.extend(times)
        self._labels.extend([UNKNOWN] * len(times))

    def label(self, row: int, fraud: bool) -> None:
        """Say what a row is."""
        self._labels[row] = FRAUD if fraud else LEGITIMATE

    def rows(self) -> Rows:
        """All of them, as views."""
        return Rows(
            self._names,
            np.frombuffer(self._vectors, np.float32).reshape(len(self), len(self._names)),
            np.frombuffer(self._cards, np.int32),
            np.frombuffer(self._times, np.int64),
            np.frombuffer(self._labels, np.int8),
        )


def from_file(
    events: EventFile,
    store: FeatureStore,
    features: FeatureSet,
    settings: SequenceSettings,
    until_us: int | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Gathered:
    """The rows of a file, whose events the store gives their features: those that a replay would decide on.

    Labels count that arrive before `until_us`, or by the arrival of the last event. Raises FileError, and GatherError where
    there is no event at all.
    """
    source = _FromFile(store, features, settings, until_us)
    for batch in events.events():
        for start in range(0, len(batch), BATCH):
            source.take(batch[start : start + BATCH])
        told(events.done)
    return source.gathered()


class _FromFile:
    def __init__(
        self, store: FeatureStore, features: FeatureSet, settings: SequenceSettings, until_us: int | None
    ) -> None:
        self._store, self._until_us = store, until_us
        self._card = features.entities.index(settings.entity)
        self._places = [features.names.index(name) for name in settings.features]
        self._flat = Flat(settings.features)
        self._waiting: dict[str, int] = {}  # the rows of events without a label
        self._early: list[tuple[int, int, bool]] = []  # labels that arrive later than the last event so far
        self._clock_us = 0
        self._left_out: Counter[str] = Counter()

    def take(self, items: Sequence[Transaction | Label | Refused]) -> None:
        """As a replay does: labels first, so that what the features see is the same."""
        labels = [item for item in items if isinstance(item, Label)]
        events = [item for item in items if isinstance(item, Transaction)]
        refused = len(items) - len(labels) - len(events)
        if refused:
            self._left_out["are no events by the profile"] += refused
        answers = self._store.apply([*labels, *events])[len(labels) :]
        if events:
            self._clock_us = max(self._clock_us, events[-1].arrived_us)
        self._add([pair for pair in zip(events, answers, strict=True) if self._fresh(pair[1])])
        self._label(labels)

    def _label(self, labels: Sequence[Label]) -> None:
        until_us = self._until()
        for label in labels:
            row = self._waiting.pop(label.event_id, None)
            if row is not None and label.arrived_us < until_us:
                self._flat.label(row, label.fraud)
            elif row is not None and self._until_us is None:
                self._early.append((label.arrived_us, row, label.fraud))

    def _fresh(self, answer: Applied) -> bool:
        why = SKIPPED.get(answer.status)
        if why:
            self._left_out[why] += 1
        return why is None

    def _add(self, found: Sequence[tuple[Transaction, Applied]]) -> None:
        if not found:
            return
        for row, (event, _) in enumerate(found, start=len(self._flat)):
            self._waiting[event.event_id] = row
        self._flat.add(
            [[answer.vector[place] for place in self._places] for _, answer in found],
            [event.entities[self._card] for event, _ in found],
            [event.arrived_us for event, _ in found],
        )

    def _until(self) -> int:
        return self._clock_us + 1 if self._until_us is None else self._until_us

    def gathered(self) -> Gathered:
        if not len(self._flat):
            raise GatherError("the file has no event of the time asked for: there is nothing to learn from")
        for arrived_us, row, fraud in self._early:
            if arrived_us < self._until():
                self._flat.label(row, fraud)
        return Gathered(self._flat.rows(), self._until(), dict(self._left_out))


def from_log(
    past: Past,
    features: FeatureSet,
    settings: SequenceSettings,
    until_us: int,
    told: Callable[[int], None] = lambda _: None,
) -> Gathered:
    """The rows of decisions whose features measured what those of the profile do now.

    A decision made while a feature was still being filled is part of its card's life, and teaches nothing. Raises GatherError
    where there is no decision to learn from.
    """
    source = _FromLog(past, features, settings, until_us)
    done = 0
    for batch in past.decisions(until_us):
        source.take(batch)
        done += len(batch)
        told(done)
    return source.gathered()


class _FromLog:
    def __init__(self, past: Past, features: FeatureSet, settings: SequenceSettings, until_us: int) -> None:
        self._settings, self._until_us = settings, until_us
        self._labels = past.labels(until_us)
        self._wanted = {name: features.hashes[name] for name in settings.features}
        self._known = {**past.hashes(), features.version: features.hashes}
        self._flat = Flat(settings.features)
        self._numbers = array("q")
        self._left_out: Counter[str] = Counter()

    def take(self, decisions: Sequence[Logged]) -> None:
        found = [each for each in decisions if self._fits(each)]
        if not found:
            return
        first = len(self._flat)
        entity = self._settings.entity
        self._flat.add(
            [vector_of(each.features, self._settings.features) for each in found],
            [each.entities[entity] for each in found],
            [each.arrived_us for each in found],
        )
        self._numbers.extend([each.seq for each in found])
        for row, each in enumerate(found, start=first):
            fraud = self._labels.get(each.event_id)
            if fraud is not None and self._wanted.keys().isdisjoint(each.warming):
                self._flat.label(row, fraud)

    def _fits(self, decision: Logged) -> bool:
        why = self._unfit(decision)
        if why:
            self._left_out[why] += 1
        return not why

    def _unfit(self, decision: Logged) -> str:
        if decision.rung == DEGRADED:
            return "were decided without features"
        if decision.late:
            return SKIPPED[Status.LATE]
        if self._settings.entity not in decision.entities:
            return f"name no {self._settings.entity}"
        known = self._known.get(decision.features_version, {})
        same = all(known.get(name) == measured for name, measured in self._wanted.items())
        return "" if same else "have features that measured something else, or nobody knows what"

    def gathered(self) -> Gathered:
        if not len(self._flat):
            left = "; ".join(f"{count:,} {why}" for why, count in self._left_out.items())
            raise GatherError(
                f"no decision that was logged can be learned from{left and f' ({left})'}: name a FILE of history"
            )
        rows = self._flat.rows()
        order = np.lexsort((np.frombuffer(self._numbers, np.int64), rows.times))
        if np.any(order[1:] < order[:-1]):
            rows = rows.at(order)
        return Gathered(rows, self._until_us, dict(self._left_out))
