"""The learn role: labels are joined with the features logged at decision time, and what is learned is published.

Its effects are exactly once although records come at least once: a checkpoint writes the snapshot, the log positions
behind it, the labels it holds and those still waiting for their decision in one SQL transaction. Records below the
stored positions, and label ids learned before, change nothing. The snapshot is published after that transaction; the
next learner does it if this one cannot any more.

No label is learned before the stream's clock, the newest arrival among the decisions, has reached it. On a stream that
happens now that is at once; on a history sent through faster than it happened it keeps the learner from knowing on
Monday what was said on Friday. Labels that are early stay in memory, and the position in the log stays before them;
too many of them, and the rest stays in the log.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from features.events import Label
from models.base import NETWORK, SEQUENCE
from models.snapshot import Snapshot
from stream.codec import Codec, DeadLetter
from stream.crash_points import reached
from stream.learn import Learner
from stream.records import TP, Outgoing, Record
from stream.watch import Reading

Vector = tuple[float, ...]

NO_SCORES: Mapping[str, float] = {}

WAITING = 100_000
"""Labels kept while their decision is not recorded; beyond it the oldest are given up, and counted."""


EARLY = 100_000
"""Labels held until the stream's clock reaches them; the log keeps those behind them until there are half as many."""


class DecisionLog(Protocol):
    """What the learner needs of the ledger."""

    def logged(self, event_ids: Sequence[str]) -> Mapping[str, Vector]:
        """The features logged with the decisions of those of these events that have one."""
        ...

    def learned(self, label_ids: Sequence[str]) -> set[str]:
        """Those of these labels that an earlier checkpoint holds."""
        ...

    def checkpoint(
        self,
        snapshot: Snapshot | None,
        positions: Mapping[TP, int],
        learned: Sequence[Label],
        waiting: Sequence[Label],
    ) -> None:
        """Keep all of this in one transaction; `waiting` replaces what waited before."""
        ...


class Publication(Protocol):
    """The way to the scorers (stream.publishing)."""

    def signed(self, snapshot: Snapshot) -> Outgoing:
        """The record of a snapshot; raises what keeps it from travelling."""
        ...

    def publish(self, snapshot: Snapshot, record: Outgoing) -> None:
        """Send that record; returns when it is durable."""
        ...

    def tend(self) -> None:
        """See that the newest snapshot is where scorers look for it."""
        ...


class Observed(msgspec.Struct, gc=False):
    """The part of a decision that the alert budget looks at."""

    arrived_us: int
    features: dict[str, float | None]
    scores: dict[str, float] = {}


class Early(NamedTuple):
    """A label, and where it stands in the log; ordered by arrival."""

    arrived_us: int
    offset: int
    tp: TP
    label: Label


class LearnRole:
    """Learns from chunks of decisions and labels; `checkpoint` makes what it did durable."""

    def __init__(
        self,
        codec: Codec,
        learner: Learner,
        log: DecisionLog,
        models: Publication,
        *,
        names: Sequence[str],
        positions: Mapping[TP, int],
        waiting: Iterable[Label] = (),
        clock_us: int = 0,
        decisions_topic: str = "decisions",
    ) -> None:
        """Go on from the positions and waiting labels of the last checkpoint; the stream's clock stood at `clock_us`."""
        self.counts: Counter[str] = Counter()
        self.learner = learner
        self._codec = codec
        self._log = log
        self._models = models
        self._names = tuple(names)
        self._positions = dict(positions)
        self._stored = dict(positions)
        self._waiting = {label.label_id: label for label in waiting}
        self._learned: dict[str, Label] = {}
        self._early: list[Early] = []  # a heap
        self._crowded = False
        self._clock_us = clock_us
        self._decisions_topic = decisions_topic
        self._observed = msgspec.json.Decoder(Observed)

    def run(self, records: Sequence[Record], condemned: str = "") -> None:
        """Take in one chunk; raises what the ledger raises, and then this role is to be made anew.

        Records that are `condemned` teach nothing and are passed over: who condemned them said why.
        """
        fresh = [record for record in records if record.offset >= self._positions.get(_tp(record), 0)]
        if condemned:
            self.counts["condemned"] += len(fresh)
            self._positions.update((_tp(record), record.offset + 1) for record in fresh)
            return
        labels = [record for record in fresh if record.topic != self._decisions_topic]
        for early in self._new_labels(labels):
            heapq.heappush(self._early, early)
        for record in fresh:
            if record.topic == self._decisions_topic:
                self._observe(record)
        self._join(self._due_labels())
        self._positions.update((_tp(record), record.offset + 1) for record in fresh)

    def _due_labels(self) -> list[Label]:
        """Take from the early labels those that the clock has reached, in the order of their arrival."""
        due: list[Label] = []
        while self._early and self._early[0].arrived_us <= self._clock_us:
            due.append(heapq.heappop(self._early).label)
        return due

    def _observe(self, record: Record) -> None:
        try:
            seen = self._observed.decode(record.value)
        except msgspec.MsgspecError:
            self.counts["unreadable_decisions"] += 1
            return
        self._clock_us = max(self._clock_us, seen.arrived_us)
        self.learner.observe(seen.arrived_us, vector_of(seen.features, self._names, seen.scores))

    def _new_labels(self, records: Sequence[Record]) -> list[Early]:
        """The labels in these records; the score role buries the bad ones, here they are passed over."""
        decoded = self._codec.decode_many(records)
        self.counts["unreadable_labels"] += sum(isinstance(label, DeadLetter) for label in decoded)
        return [
            Early(label.arrived_us, record.offset, _tp(record), label)
            for record, label in zip(records, decoded, strict=True)
            if isinstance(label, Label)
        ]

    def _unknown(self, labels: Sequence[Label]) -> list[Label]:
        """Those that were neither learned before nor wait already, each once: of an id that comes twice the first."""
        known = self._learned.keys() | self._waiting.keys()
        known |= self._log.learned([label.label_id for label in labels])
        first = {label.label_id: label for label in reversed(labels)}
        return [each for each in labels if each.label_id not in known and first[each.label_id] is each]

    def _join(self, arrived: Sequence[Label]) -> None:
        labels = self._unknown(arrived)
        logged = self._log.logged([label.event_id for label in labels])
        matched = [label for label in labels if label.event_id in logged]
        self.learner.learn((logged[label.event_id], label.fraud) for label in matched)
        self._learned.update((label.label_id, label) for label in matched)
        self._waiting.update((label.label_id, label) for label in labels if label.event_id not in logged)
        self.counts["learned"] += len(matched)

    def retry(self) -> None:
        """Try the labels again whose decision was not recorded when they came."""
        waiting, self._waiting = list(self._waiting.values()), {}
        self._join(waiting)
        while len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]
            self.counts["labels_given_up"] += 1

    @property
    def waiting(self) -> int:
        """Labels whose decision is not recorded yet."""
        return len(self._waiting)

    @property
    def crowded(self) -> bool:
        """Whether so many labels are early that no more should come."""
        self._crowded = len(self._early) >= (EARLY // 2 if self._crowded else EARLY)
        return self._crowded

    @property
    def due(self) -> bool:
        """Whether enough was learned for a checkpoint."""
        return self.learner.due

    def checkpoint(self) -> bool:
        """Make everything taken in so far durable; whether there was anything."""
        upto = self._reached()
        if upto == self._stored and not self.learner.ahead:
            return False
        positions = {f"{tp.topic}/{tp.partition}": offset for tp, offset in upto.items()}
        snapshot = self.learner.snapshot(positions) if self.learner.ahead else None
        record = self._models.signed(snapshot) if snapshot else None  # what cannot travel is not kept either
        self._log.checkpoint(snapshot, upto, list(self._learned.values()), list(self._waiting.values()))
        reached("learn.committed")
        self._stored = upto
        self._learned.clear()
        if snapshot and record:
            self._models.publish(snapshot, record)
        self.counts["checkpoints"] += 1
        return True

    def tend(self) -> None:
        """See that the newest snapshot is where scorers look for it."""
        self._models.tend()

    def readings(self) -> Iterator[Reading]:
        """What happened since the start, for metrics."""
        yield Reading("weir_labels_learned", self.counts["learned"])
        yield Reading("weir_labels_waiting", self.waiting)
        yield Reading("weir_labels_given_up", self.counts["labels_given_up"])
        yield Reading("weir_checkpoints", self.counts["checkpoints"])
        yield Reading("weir_snapshot_number", self.learner.number)
        for part, weight in self.learner.weights().items():
            yield Reading("weir_ensemble_weight", weight, {"part": part})
        for what in ("decisions", "labels"):
            yield Reading("weir_unreadable", self.counts[f"unreadable_{what}"], {"what": what})

    def _reached(self) -> dict[TP, int]:
        """From where the next learner would have to read: not beyond the first early label."""
        upto = dict(self._positions)
        for early in self._early:
            upto[early.tp] = min(upto[early.tp], early.offset)
        return upto

    def settled(self, tp: TP, offset: int) -> bool:
        """Whether the last checkpoint holds all of a partition's records up to this offset."""
        return self._stored.get(tp, 0) > offset


def vector_of(
    features: Mapping[str, float | None], names: Sequence[str], scores: Mapping[str, float] = NO_SCORES
) -> Vector:
    """Logged features as a vector in the order of `names`; what is not known is NaN.

    Where SEQUENCE is among the names, the network's probability of the logged `scores` stands there.

    >>> vector_of({"amount": 5.0}, ("amount", "risk", "score:sequence"), {"river": 0.1, "sequence": 0.25})
    (5.0, nan, 0.25)
    """
    if NETWORK in scores:
        features = {**features, SEQUENCE: scores[NETWORK]}
    get = features.get
    values = [get(name) for name in names]
    return tuple([math.nan if value is None else value for value in values])


def _tp(record: Record) -> TP:
    return TP(record.topic, record.partition)
