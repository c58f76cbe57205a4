"""Every scorer keeps the contract, and the check notices those that do not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from models.base import Scorer, Vector
from models.baselines import NullScorer, RandomScorer, Rule, RulesScorer
from models.checks import check_scorer
from models.ensemble import EnsembleScorer
from models.incremental import RiverScorer

FEATURES = ("amount", "risk", "night")
RULES = (Rule("amount", 120.0, 4.0), Rule("risk", 0.5, 1.0))


def stream(events: int = 900) -> tuple[list[Vector], list[bool]]:
    """Amounts, a risk that is often missing, and a binary; fraud is likelier where the amount is high."""
    draw = random.Random(7)
    vectors: list[Vector] = []
    labels = []
    for _ in range(events):
        amount = draw.expovariate(0.02)
        risk = math.nan if draw.random() < 0.3 else draw.choice([0.0, 0.0, draw.random()])
        vectors.append((amount, risk, float(draw.random() < 0.2)))
        labels.append(draw.random() < (0.6 if amount > 120 else 0.03))
    return vectors, labels


MAKERS: dict[str, Callable[[], Scorer]] = {
    "river": lambda: RiverScorer(FEATURES, first=100),
    "river, bins of one width": lambda: RiverScorer(FEATURES, first=100, merged=()),
    "river, still without bins": lambda: RiverScorer(FEATURES, first=5000),
    "river, regularised": lambda: RiverScorer(FEATURES, first=50, bins=4, l2=0.001),
    "null": lambda: NullScorer(FEATURES),
    "random": lambda: RandomScorer(FEATURES, seed=3),
    "rules": lambda: RulesScorer(FEATURES, RULES),
    "ensemble": lambda: EnsembleScorer(FEATURES[:2], RULES, river=RiverScorer(FEATURES[:2], first=100)),
    "ensemble, still without bins": lambda: EnsembleScorer(FEATURES[:2]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_scorer_keeps_the_contract(name: str) -> None:
    check_scorer(MAKERS[name], *stream())


class Drifting(NullScorer):
    """Changes when it scores."""

    def score_one(self, vector: Vector) -> float:
        self.labels += 1
        return self.frauds / self.labels


class Ranking(NullScorer):
    """Scores a batch by its order."""

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        return [place / len(vectors) for place in range(len(vectors))]


class LogOdds(NullScorer):
    """Gives no probability."""

    def score_one(self, vector: Vector) -> float:
        return -3.0


class Forgetful(NullScorer):
    """Loses what it learned when saved."""

    def dump(self) -> bytes:
        return NullScorer(self.features).dump()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (Drifting, "batch gives other scores"),
        (Ranking, "batch gives other scores"),
        (LogOdds, "outside 0..1"),
        (Forgetful, "after loading"),
    ],
)
def test_the_check_notices_a_broken_scorer(broken: type[NullScorer], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_scorer(lambda: broken(FEATURES), *stream(40))
