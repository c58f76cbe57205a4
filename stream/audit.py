"""The features of logged decisions, recomputed from the log by the reference store, and compared bit for bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec

from features.catalogue import Feature, FeatureSet
from features.compute import OF_LABELS, WITHOUT_WINDOW
from features.store import Applied, InMemoryFeatureStore, Status
from stream.emit import without_nan
from stream.numbered import NumberedLog, Placed, Said, Sampled, Since
from stream.progress import Silent, Tracker

TOOK_A_NUMBER = frozenset({Status.LABELLED, Status.LABEL_PENDING})

SKEW_US = 1_000_000
"""The log's clock and a worker's may differ by so much."""

ALWAYS, NEVER = -math.inf, math.inf

SHOWN_EVERY = 1_000
"""Events from one move of the bar to the next."""


class Example(msgspec.Struct, frozen=True):
    """One decision whose feature is another; None is NaN, or in `logged` that it was not there."""

    event_id: str
    logged: float | None
    recomputed: float | None


class Tally(msgspec.Struct):
    """What was found of one feature; every number counts decisions."""

    name: str
    from_us: float = ALWAYS  # compared are events from then on
    compared: int = 0
    differing: int = 0
    early: int = 0  # before `from_us`: what they look back at may have left the log
    unsettled: int = 0  # another, but which labels had been applied by then the log does not tell
    forgotten: int = 0  # of somebody who was forgotten since
    example: Example | None = None  # the first that differs


class Report(msgspec.Struct, frozen=True):
    """What an audit found. What is compared is a sample of `decisions - foreign - late - gone`."""

    features: tuple[Tally, ...]
    sampled: int  # decisions of which at least one feature was to be compared
    differing: int  # of them, those with a feature that differs
    decisions: int  # ids on the log
    foreign: int  # decided with other features than the profile's
    late: int  # changed no state: when they came is not known by a number
    gone: int  # their event is not on the log (any more)
    undecided: int  # events without a decision
    repeated: int  # records of an id that is decided by another record
    dead_letters: int
    labels: int
    unreadable: int  # records of `decisions` that are none
    shared: int  # numbers that two events have: the store had lost what it gave them for
    unclaimed: int  # numbers that no event and no label of the log has
    since: Since  # from when on the log is whole
    in_order: bool  # whether the log tells the order of all labels

    @property
    def compared(self) -> int:
        """How many values were compared."""
        return sum(each.compared for each in self.features)

    @property
    def well(self) -> bool:
        """Whether something was compared, and nothing differs."""
        return self.compared > 0 and not self.differing


def sampled(share: float, seed: int = 0) -> Sampled:
    """Chooses a share of all event ids: the same ones in every run of this seed.

    >>> sum(map(sampled(0.5), map(str, range(1_000))))
    491
    """
    key, limit = seed.to_bytes(8, "big"), share * 2.0**64

    def chosen(event_id: str) -> bool:
        return int.from_bytes(blake2b(event_id.encode(), digest_size=8, key=key).digest()) < limit

    return chosen


def looks_back_us(feature: Feature) -> int | None:
    """How far a feature looks back; None: at events however old. Of an event alone 0."""
    if feature.kind in WITHOUT_WINDOW:
        return None
    return max(feature.window_us, feature.against_us)


class Audit:
    """One pass over a log, in the store's order, with an empty store."""

    def __init__(self, log: NumberedLog, features: FeatureSet, max_ahead_us: int) -> None:
        """`max_ahead_us`: an event is at most so much later than its arrival."""
        self._log, self._since = log, log.since()
        self._features = features.features
        self._set, self._store = features, InMemoryFeatureStore(features)
        self._whole_us = _labels_whole_us(self._since, features)
        self._tallies = [
            Tally(each.name, self._from_us(each, max_ahead_us)) if each.entity else Tally(each.name)
            for each in features.features
        ]
        self._in_order = self._since == Since(None, None) and log.label_lanes <= 1
        self._labels = _Labels(log.said())
        self._taken = 0
        self._sampled = self._shared = self._unclaimed = 0
        self._differing: set[tuple[str, int]] = set()

    def _from_us(self, feature: Feature, max_ahead_us: int) -> float:
        back_us, begun_us = looks_back_us(feature), self._since.transactions
        if feature.kind in OF_LABELS:
            return self._whole_us + feature.window_us
        if begun_us is None:
            return ALWAYS
        return NEVER if back_us is None else begun_us + max_ahead_us + back_us

    def run(self, tracker: Tracker | None = None) -> Report:
        """Recompute all, and compare what was sampled."""
        tracker = tracker or Silent()
        shards = self._log.shards()
        for number, shard in enumerate(shards):
            self._begin(shard)
            for done, placed in enumerate(self._log.placed(shard)):
                if done % SHOWN_EVERY == 0:
                    tracker.at((number * self._log.counts["events"] + done) // len(shards))
                self._apply(placed)
        tracker.at(self._log.counts["events"])
        counts = self._log.counts
        return Report(
            features=tuple(self._tallies),
            sampled=self._sampled,
            differing=len(self._differing),
            shared=self._shared,
            unclaimed=self._unclaimed,
            since=self._since,
            in_order=self._in_order,
            **{
                name: counts[name]
                for name in ("undecided", "repeated", "dead_letters", "labels", "unreadable")
            },
            **self._log.told(),
        )

    def _begin(self, shard: int) -> None:
        """Each shard of a cluster has an order of its own: what lives there is recomputed by itself."""
        self._store = InMemoryFeatureStore(self._set)
        self._labels, self._taken = _Labels(self._log.said(shard)), 0

    def _apply(self, placed: Placed) -> None:
        if placed.lives == [""]:  # of the event alone: in no order
            self._sampled += placed.features is not None
            self._check(placed)
            return
        self._say_before(placed)
        self._shared += placed.seq <= self._taken
        self._unclaimed += max(0, placed.seq - 1 - self._taken)
        self._taken = placed.seq
        [applied] = self._store.apply([placed.event])
        if applied.status is Status.DUPLICATE:  # the same record twice, under one number
            self._shared -= 1
        elif placed.features is not None:
            self._sampled += placed.lives is None
            self._compare(placed, placed.features, applied)
        for label in placed.early:
            [applied] = self._store.apply([label])
            self._taken += applied.status in TOOK_A_NUMBER

    def _check(self, placed: Placed) -> None:
        if placed.features is not None:
            [applied] = InMemoryFeatureStore(self._set).apply([placed.event])
            self._compare(placed, placed.features, applied)

    def _say_before(self, placed: Placed) -> None:
        """Labels took the numbers between those of decisions; which label the first was is only known of a whole log."""
        if placed.event.arrived_us < self._whole_us:
            while self._labels.next and self._labels.next.label.arrived_us <= placed.event.arrived_us:
                self._store.apply([self._labels.take().label])
            self._taken = max(self._taken, placed.seq - 1)
        while self._labels.next and self._taken < placed.seq - 1:
            [applied] = self._store.apply([self._labels.take().label])
            self._taken += applied.status in TOOK_A_NUMBER

    def _compare(self, placed: Placed, logged: Mapping[str, float | None], applied: Applied) -> None:
        """Compare one decision, or of it what lives in a shard."""
        at_us = min(placed.event.time_us, placed.event.arrived_us)
        for feature, value, tally in zip(self._features, applied.vector, self._tallies, strict=True):
            if placed.lives is not None and feature.entity not in placed.lives:
                continue
            if feature.entity in placed.forgotten:
                tally.forgotten += 1
            elif at_us < tally.from_us:
                tally.early += 1
            elif alike(logged, feature.name, value):
                tally.compared += 1
            elif feature.kind in OF_LABELS and not self._settled(placed):
                tally.unsettled += 1
            else:
                _differs(tally, Example(placed.event.event_id, logged.get(feature.name), without_nan(value)))
                self._differing.add((placed.event.event_id, placed.seq if placed.lives is None else 0))

    def _settled(self, placed: Placed) -> bool:
        """Whether the labels applied before a decision are known, whatever their order: all that were there, and no other."""
        if self._in_order:
            return True
        last, following = self._labels.last, self._labels.next
        return (last is None or last.logged_us + SKEW_US < placed.decided_us) and (
            following is None or following.logged_us - SKEW_US > placed.decided_us
        )


class _Labels:
    """The labels, with the last one taken and the next at hand."""

    def __init__(self, said: Iterator[Said]) -> None:
        self._said = said
        self.last: Said | None = None
        self.next = next(said, None)

    def take(self) -> Said:
        taken = self.next
        assert taken is not None
        self.last, self.next = taken, next(self._said, None)
        return taken


def _labels_whole_us(since: Since, features: FeatureSet) -> float:
    """From when on every label that counts is on the log, and the event that it is of."""
    events_us = ALWAYS if since.transactions is None else since.transactions + features.label_horizon_us
    return max(events_us, ALWAYS if since.labels is None else since.labels)


def alike(logged: Mapping[str, float | None], name: str, value: float) -> bool:
    """Whether a value was logged as it is, to the bit; NaN stands there as None.

    >>> alike({"a": -0.0}, "a", 0.0), alike({"a": None}, "a", math.nan), alike({}, "a", math.nan)
    (False, True, False)
    """
    if name not in logged:
        return False
    known = logged[name]
    return value != value if known is None else struct.pack("d", known) == struct.pack("d", value)


def _differs(tally: Tally, example: Example) -> None:
    tally.compared += 1
    tally.differing += 1
    tally.example = tally.example or example


def differing(report: Report) -> Sequence[Tally]:
    """The features that differ anywhere."""
    return [each for each in report.features if each.differing]
