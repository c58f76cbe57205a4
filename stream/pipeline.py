"""The path on one page: events -> features -> score -> decide. No drivers, no clock, no I/O but the store's.

The live workers, a replay and a backtest all run this same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from features.events import Event, Transaction
from features.store import Applied, FeatureStore, Status
from models.base import Reason, Scorer, Vector
from stream.decide import APPROVE, NEVER, Outcome, decide
from stream.watch import UNSEEN, Passing

CONFLICT = Status.CONFLICT

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
    parts: Mapping[str, float] | None = (
        None  # what the parts said that scored; None where there is no network
    )


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
            return _answers(champion, events, applied, scores)

    @staticmethod
    def _scores(champion: Champion, applied: Sequence[Applied]) -> Iterator[float]:
        vectors = [answer.vector for answer in applied if answer.vector]
        if champion.scorer is None:
            return iter([NO_SCORE] * len(vectors))
        return iter(champion.scorer.score_many(vectors))


def _answers(
    champion: Champion, events: Sequence[Event], applied: Sequence[Applied], scores: Iterator[float]
) -> list[Answer]:
    """An answer for each event: labels have none, and a conflict no score."""
    explain = champion.scorer.explain_one if champion.scorer else _unexplained
    threshold = champion.threshold
    answers: list[Answer] = []
    for event, known in zip(events, applied, strict=True):
        if not isinstance(event, Transaction):
            answers.append(None)
        elif known.status is CONFLICT:
            answers.append(_refused(event))
        else:
            score = next(scores)
            outcome = decide(score, threshold)
            reasons = [] if outcome is APPROVE else explain(known.vector)
            answers.append(Decision(event, known, score, outcome, reasons, champion))
    return answers


def _refused(event: Transaction) -> Refused:
    return Refused(event, f"the event id {event.event_id!r} was used before for another content")


def _unexplained(vector: Vector) -> list[Reason]:
    return []
