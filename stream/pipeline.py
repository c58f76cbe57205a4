"""The path on one page: events -> features -> score -> decide. No drivers, no clock, no I/O but the store's.

The live workers, a replay and a backtest all run this same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from features.events import Event, Transaction
from features.store import Applied, FeatureStore, Status
from models.base import Reason, Scorer
from stream.decide import NEVER, Outcome, decide
from stream.watch import UNSEEN, Passing

NO_SCORE = 0.0
"""What an event scores while no model has been learned: nothing is known, so nobody is accused."""


class Champion(msgspec.Struct, frozen=True):
    """The model that decides now, and the threshold chosen for it. They change together, between batches."""

    scorer: Scorer | None
    version: str
    threshold: float

    @property
    def rung(self) -> str:
        """Which rung of the ladder river -> rules decides."""
        return "river" if self.scorer else "rules"


NOBODY = Champion(None, "none", NEVER)
"""Before the first model."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What was decided of one transaction, and from what."""

    event: Transaction
    applied: Applied
    score: float
    outcome: Outcome
    reasons: list[Reason]
    champion: Champion


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An event that got no decision, and why."""

    event: Transaction
    reason: str


Answer = Decision | Refused | None
"""What becomes of an event: a label that took effect is answered by None."""


class Pipeline:
    """Decides batches of events with whatever champion it holds."""

    def __init__(self, store: FeatureStore, champion: Champion = NOBODY) -> None:
        """Start with `champion`; assign another between two batches to swap."""
        self.store = store
        self.champion = champion

    def run(self, events: Sequence[Event]) -> list[Answer]:
        """Apply a batch in order and answer each event; `events` of one entity count for the next in the batch."""
        return self.answer(events, self.store.apply(events))

    def answer(
        self, events: Sequence[Event], applied: Sequence[Applied], seen: Passing = UNSEEN
    ) -> list[Answer]:
        """What becomes of events that the store has applied."""
        champion = self.champion
        with seen.stage("score"):
            scores = self._scores(champion, applied)
        with seen.stage("decide"):
            return [self._answer(champion, *pair, scores) for pair in zip(events, applied, strict=True)]

    @staticmethod
    def _scores(champion: Champion, applied: Sequence[Applied]) -> Iterator[float]:
        vectors = [answer.vector for answer in applied if answer.vector]
        if champion.scorer is None:
            return iter([NO_SCORE] * len(vectors))
        return iter(champion.scorer.score_many(vectors))

    @staticmethod
    def _answer(champion: Champion, event: Event, applied: Applied, scores: Iterator[float]) -> Answer:
        if not isinstance(event, Transaction):
            return None
        if applied.status is Status.CONFLICT:
            return Refused(event, f"the event id {event.event_id!r} was used before for another content")
        score = next(scores)
        outcome = decide(score, champion.threshold)
        alerting = outcome is not Outcome.APPROVE and champion.scorer is not None
        reasons = champion.scorer.explain_one(applied.vector) if alerting and champion.scorer else []
        return Decision(event, applied, score, outcome, reasons, champion)
