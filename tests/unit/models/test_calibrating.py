"""Calibration: the curve that the logits came from is found again, and one class alone is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.calibrating import platt


def drawn(slope, offset, events=200_000, seed=1):
    random = np.random.default_rng(seed)
    logits = random.normal(-4.0, 2.0, events)
    return logits, random.random(events) < 1 / (1 + np.exp(-(slope * logits + offset)))


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0), (2.0, 3.0)])
def test_the_curve_behind_the_logits_is_found_again(slope, offset):
    found = platt(*drawn(slope, offset))
    assert found == pytest.approx((slope, offset), rel=0.06, abs=0.06)


def test_it_is_what_a_logistic_regression_finds():
    logits, fraud = drawn(0.7, -0.5)
    peer = LogisticRegression(C=1e9, tol=1e-10).fit(logits[:, None], fraud)
    assert platt(logits, fraud) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), rel=2e-3)


def test_the_mean_probability_is_the_share_of_fraud():
    logits, fraud = drawn(1.5, 1.0)
    slope, offset = platt(logits, fraud)
    assert np.mean(1 / (1 + np.exp(-(slope * logits + offset)))) == pytest.approx(fraud.mean(), rel=1e-3)


def test_frauds_that_lie_apart_leave_a_curve_that_ends():
    logits = np.r_[np.full(500, -9.0), np.full(5, 9.0)]
    slope, offset = platt(logits, logits > 0)
    assert math.isfinite(slope)
    assert 0.8 < 1 / (1 + math.exp(-(slope * 9 + offset))) < 0.9  # (5 + 1) / (5 + 2)


def test_logits_that_are_all_the_same_give_the_share_of_fraud():
    slope, offset = platt(np.full(100, -3.0), np.arange(100) < 10)
    assert 1 / (1 + math.exp(-(slope * -3.0 + offset))) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("fraud", [True, False])
def test_one_class_alone_is_refused(fraud):
    with pytest.raises(ValueError, match="calibration needs frauds and legitimate events"):
        platt(np.zeros(5), np.full(5, fraud))
