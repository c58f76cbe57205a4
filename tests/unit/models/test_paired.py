"""Two scorers are compared on the same days: the measures are the exact ones, and the interval covers what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.measures import ranking
from models.paired import Judged, paired_differences

DAYS, EACH = 20, 60


def events(seed: int = 1) -> tuple[Judged, np.random.Generator]:
    draw = np.random.default_rng(seed)
    fraud = draw.random(DAYS * EACH) < 0.2
    days = np.repeat(np.arange(DAYS), EACH).astype(np.uint16)
    return Judged(fraud, days, draw.integers(0, 400, len(fraud)).astype(np.uint32)), draw


@given(st.integers(0, 50))
def test_the_difference_is_that_of_the_exact_measures_ties_and_all(seed: int) -> None:
    judged, draw = events(seed)
    ours, theirs = (draw.random(len(judged.fraud)).round(1) for _ in range(2))
    made = paired_differences(ours, theirs, judged, resamples=2).average_precision
    exact = ranking(ours, judged.fraud)[1] - ranking(theirs, judged.fraud)[1]
    assert made.value == pytest.approx(exact, abs=1e-12)


def test_of_equal_scores_nothing_differs_on_any_day() -> None:
    judged, draw = events()
    scores = draw.random(len(judged.fraud))
    made = paired_differences(scores, scores, judged, resamples=20)
    assert made.average_precision == made.card_precision
    assert (made.average_precision.value, made.average_precision.low, made.average_precision.high) == (
        0,
        0,
        0,
    )


def test_what_is_better_every_day_is_better_beyond_doubt_and_what_is_chance_is_not() -> None:
    judged, draw = events()
    noise = draw.random(len(judged.fraud))
    good = judged.fraud * 0.5 + noise
    sure = paired_differences(good, noise, judged, resamples=200).average_precision
    assert 0 < sure.low < sure.value < sure.high
    chance = paired_differences(draw.random(len(noise)), noise, judged, resamples=200).average_precision
    assert chance.low < 0 < chance.high


def test_pairing_tells_apart_what_days_that_differ_would_hide() -> None:
    """On some days fraud is plain to see for both, on others for none; one is a little better on each."""
    judged, draw = events()
    hard = (judged.days % 2).astype(float)
    base = judged.fraud * (1.0 - hard) + draw.random(len(hard))
    made = paired_differences(base + 0.1 * judged.fraud, base, judged, resamples=200).average_precision
    assert made.low > 0


def test_the_same_seed_draws_the_same_days() -> None:
    judged, draw = events()
    one, other = draw.random(len(judged.fraud)), draw.random(len(judged.fraud))
    again = [paired_differences(one, other, judged, resamples=30, seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


def test_stretches_are_measured_by_themselves_and_averaged() -> None:
    judged, draw = events()
    ours, theirs = (draw.random(len(judged.fraud)) for _ in range(2))
    halves = [np.flatnonzero(judged.days < 10), np.flatnonzero(judged.days >= 10)]
    made = paired_differences(ours, theirs, judged, stretches=halves, resamples=2).average_precision.value
    each = [
        ranking(ours[half], judged.fraud[half])[1] - ranking(theirs[half], judged.fraud[half])[1]
        for half in halves
    ]
    assert made == pytest.approx(sum(each) / 2, abs=1e-12)


def test_where_there_is_no_fraud_nothing_is_compared() -> None:
    judged, draw = events()
    scores = draw.random(len(judged.fraud))
    with pytest.raises(ValueError, match="no fraud"):
        paired_differences(scores, scores, judged._replace(fraud=np.zeros(len(scores), bool)))
