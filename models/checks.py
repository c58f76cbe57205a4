"""What every scorer is held to, whatever is inside it; for the tests of ours and of yours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from models.base import Scorer, Vector
from models.codec import load_scorer


def check_scorer(make: Callable[[], Scorer], vectors: Sequence[Vector], labels: Sequence[bool]) -> None:
    """Raise AssertionError, saying what is wrong, if scorers that `make` gives break the contract.

    `vectors` and their `labels` are what the scorer learns from, half before and half after it was saved.
    """
    assert len(vectors) == len(labels) >= 4, "give at least four vectors, and a label for each"
    half = len(vectors) // 2
    scorer = make()
    for stage in (0, half, len(vectors)):
        learn(scorer, vectors, labels, stage - half, stage)
        check_scoring(scorer, vectors)
        check_reading(scorer, vectors)
    check_repeats(make, vectors, labels)
    check_saving(make, vectors, labels)


def learn(scorer: Scorer, vectors: Sequence[Vector], labels: Sequence[bool], start: int, stop: int) -> None:
    """Learn from a stretch of the labelled vectors."""
    for vector, fraud in list(zip(vectors, labels, strict=True))[max(0, start) : stop]:
        scorer.learn_one(vector, fraud)


def check_scoring(scorer: Scorer, vectors: Sequence[Vector]) -> None:
    """Scores are probabilities, missing values included, and a batch gives the same as singles."""
    missing = [math.nan] * len(scorer.features)
    extremes = [[extreme] * len(scorer.features) for extreme in (math.inf, -math.inf, 1e300, -0.0)]
    tried = [*vectors, missing, *extremes]
    singles = [scorer.score_one(vector) for vector in tried]
    strange = [(vector, score) for vector, score in zip(tried, singles, strict=True) if not 0 <= score <= 1]
    assert not strange, f"a score lies outside 0..1: {strange[0]}"
    assert scorer.score_many(tried) == singles, "a batch gives other scores than singles"
    assert scorer.score_many(tried[::-1]) == singles[::-1], "a score depends on its neighbours in a batch"
    assert scorer.score_many([]) == [], "an empty batch has no scores"


def check_reading(scorer: Scorer, vectors: Sequence[Vector]) -> None:
    """Scoring and explaining change nothing, and reasons name features of the scorer, strongest first."""
    before = scorer.dump()
    scorer.score_many(vectors)
    for vector in vectors[:10]:
        reasons = scorer.explain_one(vector, top=2)
        assert len(reasons) <= 2, "there are more reasons than asked for"
        assert {reason.feature for reason in reasons} <= set(scorer.features), "a reason names no feature"
        parts = [abs(reason.weight) for reason in reasons]
        assert parts == sorted(parts, reverse=True), "the strongest reason does not come first"
    assert scorer.dump() == before, "scoring or explaining changes the scorer"


def check_repeats(make: Callable[[], Scorer], vectors: Sequence[Vector], labels: Sequence[bool]) -> None:
    """Two scorers made alike that learn the same are the same to the last bit."""
    one, other = make(), make()
    for scorer in (one, other):
        learn(scorer, vectors, labels, 0, len(vectors))
    assert one.dump() == other.dump(), "learning the same twice gives two different scorers"


def check_saving(make: Callable[[], Scorer], vectors: Sequence[Vector], labels: Sequence[bool]) -> None:
    """A scorer that was saved and loaded, however young, goes on as if it had not been."""
    for saved_after in sorted({0, 1, len(vectors) // 3, len(vectors) // 2, len(vectors)}):
        straight = make()
        learn(straight, vectors, labels, 0, saved_after)
        data = straight.dump()
        loaded = load_scorer(data, straight.features)
        assert loaded.dump() == data, "saving what was loaded gives other bytes"
        learn(straight, vectors, labels, saved_after, len(vectors))
        learn(loaded, vectors, labels, saved_after, len(vectors))
        assert loaded.score_many(vectors) == straight.score_many(vectors), "after loading, scores differ"
        assert loaded.dump() == straight.dump(), "after loading, learning goes on differently"
