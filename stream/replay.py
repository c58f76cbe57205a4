"""History through the same pipeline, labels arriving as late as they did: what production would have done."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from features.events import Label, Transaction
from models.base import NETWORK, SEQUENCE
from stream.champion import champion_of
from stream.decide import DAY_US, Outcome
from stream.files import Refused as RefusedRow
from stream.labels import NO_SCORES
from stream.learn import Learner
from stream.pipeline import Decision, Pipeline

BATCH = 500
"""Events and labels decided at once, as in a chunk of the live path."""


class Judged(NamedTuple):
    """A decision whose label has arrived."""

    score: float
    alerted: bool
    fraud: bool
    day: int  # days since 1970 of the event's own time, UTC
    card: str  # the entity whose precision at k counts


class Sink(Protocol):
    """Where a replay's decisions go, in the order in which they are made."""

    def write(self, decisions: Sequence[Decision]) -> None:
        """Take the decisions of one batch."""
        ...


class Awaiting(msgspec.Struct, gc=False):
    """What is kept of a decision until its label arrives."""

    vector: tuple[float, ...]
    score: float
    alerted: bool
    day: int
    card: str


class Replay:
    """Runs a file's events and labels through a pipeline and its learner."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        names: Sequence[str],
        card: int | None,
        learner: Learner | None,
        horizon_us: int,
    ) -> None:
        """With a learner the champion follows its snapshots; without one it stays. `card` indexes the entities.

        Decisions are kept for their label for `horizon_us`.
        """
        self.decided = 0
        self.alerts = 0
        self.labels = 0
        self.refused = 0
        self.refusals: dict[str, int] = {}
        self._pipeline = pipeline
        self._hashes = (learner and learner.hashes) or dict.fromkeys(names, "")
        self._card = card
        self._learner = learner
        self._with_network = SEQUENCE in self._hashes
        self._horizon_us = horizon_us
        self._awaiting: dict[str, Awaiting] = {}
        self._oldest: deque[tuple[int, str]] = deque()

    def run(
        self, batch: Sequence[Transaction | Label | RefusedRow], sink: Sink | None = None
    ) -> list[Judged]:
        """Take in the next items of the history; gives the decisions whose labels arrived in them."""
        judged: list[Judged] = []
        for start in range(0, len(batch), BATCH):
            judged += self._step(batch[start : start + BATCH], sink)
        return judged

    def _step(self, items: Sequence[Transaction | Label | RefusedRow], sink: Sink | None) -> list[Judged]:
        labels = [item for item in items if isinstance(item, Label)]
        transactions = [item for item in items if isinstance(item, Transaction)]
        self._refuse(item.reason for item in items if isinstance(item, RefusedRow))
        # Labels first, as `weir send` sends them: none is seen before its arrival, and the order of applying is the same.
        answers = self._pipeline.run([*labels, *transactions])
        decisions = [answer for answer in answers if isinstance(answer, Decision)]
        self._decided(decisions)
        if sink is not None:
            sink.write(decisions)
        return self._labelled(labels)

    def _refuse(self, reasons: Iterable[str]) -> None:
        for reason in reasons:
            self.refused += 1
            if reason in self.refusals or len(self.refusals) < 20:
                self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def _decided(self, decisions: Sequence[Decision]) -> None:
        learner, card = self._learner, self._card
        for made in decisions:
            event, vector = made.event, self._vector(made)
            alerted = made.outcome is not Outcome.APPROVE
            self.alerts += alerted
            if learner is not None:
                learner.observe(event.arrived_us, vector)
            entity = event.entities[card] if card is not None else event.event_id
            self._awaiting[event.event_id] = Awaiting(
                vector, made.score, alerted, event.time_us // DAY_US, entity
            )
            self._oldest.append((event.arrived_us, event.event_id))
        self.decided += len(decisions)
        if decisions:
            self._forget(decisions[-1].event.arrived_us - self._horizon_us)

    def _vector(self, made: Decision) -> tuple[float, ...]:
        """What the learner reads of a decision: as live from the decision's record."""
        if not self._with_network:
            return made.applied.vector
        return (*made.applied.vector, (made.parts or NO_SCORES).get(NETWORK, math.nan))

    def _forget(self, before_us: int) -> None:
        oldest = self._oldest
        while oldest and oldest[0][0] <= before_us:
            self._awaiting.pop(oldest.popleft()[1], None)

    def _labelled(self, labels: Sequence[Label]) -> list[Judged]:
        found = [(label, self._awaiting.pop(label.event_id, None)) for label in labels]
        met = [(label.fraud, kept) for label, kept in found if kept is not None]
        self.labels += len(met)
        self._learn([(kept.vector, fraud) for fraud, kept in met])
        return [Judged(kept.score, kept.alerted, fraud, kept.day, kept.card) for fraud, kept in met]

    def _learn(self, labelled: Sequence[tuple[tuple[float, ...], bool]]) -> None:
        learner = self._learner
        if learner is None:
            return
        learner.learn(labelled)
        if learner.due:
            snapshot = learner.snapshot({})
            self._pipeline.champion = champion_of(snapshot, learner.features_version, self._hashes)
