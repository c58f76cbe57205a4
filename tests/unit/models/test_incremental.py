"""The scorer is River's model, only faster to ask."""

from __future__ import annotations

import math
import random

import pytest

from models.base import Vector
from models.incremental import RiverScorer

FEATURES = ("amount", "risk", "night")


def stream(events: int, seed: int = 1) -> list[tuple[Vector, bool]]:
    draw = random.Random(seed)
    out: list[tuple[Vector, bool]] = []
    for _ in range(events):
        amount = draw.expovariate(0.02)
        risk = math.nan if draw.random() < 0.3 else draw.choice([0.0, 0.0, draw.random()])
        fraud = draw.random() < (0.7 if amount > 100 else 0.02)
        out.append(((amount, risk, float(draw.random() < 0.2)), fraud))
    return out


def taught(events: int, **settings: object) -> RiverScorer:
    scorer = RiverScorer(FEATURES, **settings)  # type: ignore[arg-type]
    for vector, fraud in stream(events):
        scorer.learn_one(vector, fraud)
    return scorer


def named(vector: Vector) -> dict[object, object]:
    return dict(zip(FEATURES, vector, strict=True))


def test_scores_are_those_of_rivers_own_pipeline() -> None:
    scorer = RiverScorer(FEATURES, first=50)
    for vector, fraud in stream(500):
        scorer.learn_one(vector, fraud)
        asked = scorer.model.predict_proba_one(scorer.bins.transform_one(named(vector)))[True]
        assert scorer.score_one(vector) == pytest.approx(asked, rel=1e-12)


def test_before_the_first_bins_every_event_has_the_share_of_fraud() -> None:
    scorer = taught(200, first=1000)
    scores = {scorer.score_one(vector) for vector, _ in stream(50, seed=2)}
    share = sum(fraud for _, fraud in stream(200)) / 200
    assert len(scores) == 1
    assert share / 2 < scores.pop() < share


def test_a_new_scorer_thinks_fraud_rare() -> None:
    assert 0 < RiverScorer(FEATURES).score_one((1.0, 2.0, 0.0)) < 0.05


def test_new_bins_keep_what_was_learned() -> None:
    scorer = taught(799, first=100)
    vectors = [vector for vector, _ in stream(300, seed=3)]
    before = scorer.score_many(vectors)
    edges = scorer.bins.edges
    scorer.learn_one(*stream(800)[-1])
    assert scorer.bins.edges != edges
    moved = [abs(a - b) for a, b in zip(before, scorer.score_many(vectors), strict=True)]
    assert sum(moved) / len(moved) < 0.02


def test_new_bins_keep_the_pace_of_what_was_learned() -> None:
    scorer = taught(799, first=100)
    before = scorer.model.optimizer.g2.values()
    mean = sum(before) / len(before)
    scorer.learn_one(*stream(800)[-1])
    after = scorer.model.optimizer.g2.values()
    assert mean / 3 < sum(after) / len(after) < mean * 3
    keys = {key for layers in scorer.bins.layers() for layer in layers for key in layer.keys}
    assert scorer.model.optimizer.g2.keys() == scorer.model.weights.keys() == keys


def test_narrow_bins_learn_from_few_labels_what_their_neighbours_know() -> None:
    held = stream(2000, seed=9)

    def loss(scorer: RiverScorer) -> float:
        scores = scorer.score_many([vector for vector, _ in held])
        chances = [score if fraud else 1 - score for score, (_, fraud) in zip(scores, held, strict=True)]
        return -sum(map(math.log, chances)) / len(chances)

    layered, alone = (taught(1500, bins=60, merged=merged) for merged in ((3, 12), ()))
    assert loss(layered) < loss(alone)


def test_scores_are_near_the_share_of_fraud_that_they_claim() -> None:
    scorer = taught(6000)
    held = stream(3000, seed=5)
    scores = scorer.score_many([vector for vector, _ in held])
    assert sum(scores) / len(scores) == pytest.approx(sum(fraud for _, fraud in held) / len(held), abs=0.02)
    high = [fraud for (_, fraud), score in zip(held, scores, strict=True) if score > 0.5]
    assert sum(high) / len(high) == pytest.approx(0.7, abs=0.1)


def test_a_high_amount_is_the_first_reason_and_speaks_for_fraud() -> None:
    reasons = taught(3000).explain_one((500.0, 0.0, 0.0))
    assert (reasons[0].feature, reasons[0].value) == ("amount", 500.0)
    assert reasons[0].weight > 1
    assert len(reasons) == 3


def test_an_average_event_has_no_reason_on_average() -> None:
    scorer = taught(3000)
    parts = [scorer.explain_one(vector, top=1)[0] for vector, _ in stream(3000)]
    assert abs(sum(reason.weight for reason in parts) / len(parts)) < 0.5


def test_a_scorer_without_bins_gives_no_reason() -> None:
    assert RiverScorer(FEATURES).explain_one((1.0, 2.0, 0.0)) == []


def test_a_scorer_without_features_still_learns_the_rate() -> None:
    scorer = RiverScorer((), first=10)
    for number in range(2000):
        scorer.learn_one((), number % 4 == 0)
    assert scorer.score_one(()) == pytest.approx(0.25, abs=0.1)
