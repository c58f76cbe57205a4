"""The path on one page: events -> features -> score -> decide. No drivers, no clock, no I/O but the store's.

The live workers, a replay and a backtest all run this same code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec

from features.events import Event, Transaction
from features.store import Applied, FeatureStore, Status
from models.base import NETWORK, SEQUENCE, Reason, Scorer, Stack, Vector
from stream.decide import APPROVE, NEVER, Outcome, decide
from stream.sequence import SequencePart
from stream.watch import UNSEEN, Passing

CONFLICT = Status.CONFLICT

RULES, RIVER, ENSEMBLE = "rules", "river", "ensemble"
"""The ladder, from below: no model, the champion without a network, and with one."""

NO_SCORE = 0.0
"""What an event scores while no model has been learned: nothing is known, so nobody is accused."""


class Champion(msgspec.Struct, frozen=True):
    """The model that decides now, and the threshold chosen for it. They change together, between batches."""

    scorer: Scorer | None
    version: str
    threshold: float

    @property
    def reads_sequence(self) -> bool:
        """Whether the network's probability decides too, as the last number of the vectors that it scores."""
        return self.scorer is not None and SEQUENCE in self.scorer.features

    @property
    def rung(self) -> str:
        """Which rung of the ladder decides where no network has answered."""
        return RIVER if self.scorer else RULES


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
    rung: str  # of the ladder, for this event
    parts: Mapping[str, float] | None = (
        None  # what the parts said that scored; None where there is no network
    )


class Refused(msgspec.Struct, frozen=True, gc=False):
    """An event that got no decision, and why."""

    event: Transaction
    reason: str


Answer = Decision | Refused | None
"""What becomes of an event: a label that took effect is answered by None."""


class Scored(NamedTuple):
    """What was thought of the events of a batch that have vectors, in their order."""

    vectors: Sequence[Vector]  # as the champion read them
    scores: Sequence[float]
    rungs: Iterable[str]
    parts: Iterable[Mapping[str, float] | None]


class Pipeline:
    """Decides batches of events with whatever champion it holds."""

    def __init__(
        self, store: FeatureStore, champion: Champion = NOBODY, network: SequencePart | None = None
    ) -> None:
        """Start with `champion`; assign another between two batches to swap. `network` is `run`'s."""
        self.store = store
        self.champion = champion
        self.network = network

    def run(self, events: Sequence[Event]) -> list[Answer]:
        """Apply a batch in order and answer each event; `events` of one entity count for the next in the batch."""
        if self.network is None:
            return self.answer(events, self.store.apply(events))
        way = self.network.begin()
        applied = self.store.apply(events)
        answers = self.answer(events, applied, told=way.read(events, applied))
        way.settle()
        return answers

    def answer(
        self,
        events: Sequence[Event],
        applied: Sequence[Applied],
        seen: Passing = UNSEEN,
        told: Sequence[float] | None = None,
    ) -> list[Answer]:
        """What becomes of events that the store has applied, and of which a network, if there is one, `told` this."""
        champion = self.champion
        with seen.stage("score"):
            thought = scored(champion, applied, told)
        with seen.stage("decide"):
            return _answers(champion, events, applied, thought)


def scored(champion: Champion, applied: Sequence[Applied], told: Sequence[float] | None) -> Scored:
    """What the champion and the network think; `told` is by event, labels and conflicts too."""
    vectors: list[Vector] = [known.vector for known in applied if known.vector]
    said = None if told is None else [each for each, known in zip(told, applied, strict=True) if known.vector]
    if champion.reads_sequence:
        of_network = [math.nan] * len(vectors) if said is None else said
        vectors = [(*vector, each) for vector, each in zip(vectors, of_network, strict=True)]
    if said is None:
        return Scored(vectors, _scores(champion, vectors), repeat(champion.rung), repeat(None))
    scores, others = _with_parts(champion, vectors)
    return Scored(vectors, scores, _rungs(champion, said), map(_with_network, others, said))


def _rungs(champion: Champion, said: Sequence[float]) -> Iterable[str]:
    if not champion.reads_sequence:
        return repeat(champion.rung)
    return [champion.rung if math.isnan(each) else ENSEMBLE for each in said]


def _scores(champion: Champion, vectors: Sequence[Vector]) -> list[float]:
    return champion.scorer.score_many(vectors) if champion.scorer else [NO_SCORE] * len(vectors)


def _with_parts(
    champion: Champion, vectors: Sequence[Vector]
) -> tuple[list[float], Sequence[Mapping[str, float]]]:
    """The scores, and what each part but the network said."""
    if isinstance(champion.scorer, Stack):
        return champion.scorer.score_parts(vectors)
    scores = _scores(champion, vectors)
    return scores, [{RIVER: score} if champion.scorer else {} for score in scores]


def _with_network(others: Mapping[str, float], said: float) -> Mapping[str, float]:
    """The network is left out where it said nothing."""
    return others if math.isnan(said) else {**others, NETWORK: said}


def _answers(
    champion: Champion, events: Sequence[Event], applied: Sequence[Applied], thought: Scored
) -> list[Answer]:
    """An answer for each event: labels have none, and a conflict no score."""
    explain = champion.scorer.explain_one if champion.scorer else _unexplained
    threshold = champion.threshold
    each = zip(*thought, strict=False)  # of one champion the rungs go on for ever
    answers: list[Answer] = []
    for event, known in zip(events, applied, strict=True):
        if not isinstance(event, Transaction):
            answers.append(None)
        elif known.status is CONFLICT:
            answers.append(_refused(event))
        else:
            vector, score, rung, parts = next(each)
            outcome = decide(score, threshold)
            reasons = [] if outcome is APPROVE else explain(vector)
            answers.append(Decision(event, known, score, outcome, reasons, champion, rung, parts))
    return answers


def _refused(event: Transaction) -> Refused:
    return Refused(event, f"the event id {event.event_id!r} was used before for another content")


def _unexplained(vector: Vector) -> list[Reason]:
    return []
