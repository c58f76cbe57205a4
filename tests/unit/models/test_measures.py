"""Ranking measures are exact, ties included, and calibration is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from models import measures
from models.measures import calibration, calibration_error, even_edges, found_a_day, ranking

judged = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), st.booleans()), min_size=2)


@given(judged)
def test_ranking_equals_scikit_learn_with_ties(events: list[tuple[float, bool]]) -> None:
    scores, fraud = (np.array(column) for column in zip(*events, strict=True))
    auc_roc, average_precision = ranking(scores, fraud)
    if 0 < fraud.sum() < len(fraud):
        assert auc_roc == pytest.approx(roc_auc_score(fraud, scores), abs=1e-12)
        assert average_precision == pytest.approx(average_precision_score(fraud, scores), abs=1e-12)


def test_ranking_is_the_same_however_many_frauds_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    scores, fraud = draw.random(500).round(2), draw.random(500) < 0.4
    whole = ranking(scores, fraud)
    monkeypatch.setattr(measures, "CHUNK", 7)
    assert ranking(scores, fraud) == pytest.approx(whole, abs=1e-12)


def test_ranking_leaves_the_scores_in_their_order() -> None:
    scores = np.array([0.9, 0.1, 0.5])
    ranking(scores, np.array([True, False, False]))
    assert scores.tolist() == [0.9, 0.1, 0.5]


def test_one_class_alone_has_no_auc() -> None:
    assert math.isnan(ranking(np.array([0.5]), np.array([True]))[0])
    assert all(map(math.isnan, ranking(np.array([0.5]), np.array([False]))))


def cards_found(rows: list[tuple[float, bool, int, int]], k: int) -> list[float]:
    scores, fraud, days, cards = zip(*rows, strict=True)
    return found_a_day(
        np.array(scores), np.array(fraud), np.array(days, np.uint16), np.array(cards, np.uint32), k
    )


def test_a_found_card_drops_out_of_later_days_and_another_takes_its_place() -> None:
    rows = [(0.9, True, 1, 7), (0.9, True, 2, 7), (0.8, True, 2, 8), (0.7, True, 3, 9)]
    assert cards_found(rows, k=1) == [1.0, 1.0, 1.0]


def test_a_card_counts_once_a_day_with_its_highest_score_and_any_of_its_frauds() -> None:
    rows = [(0.9, False, 1, 7), (0.1, True, 1, 7), (0.5, True, 1, 8)]
    assert cards_found(rows, k=1) == [1.0]
    assert cards_found(rows, k=4) == [0.5]


def test_calibration_error_is_the_mean_distance_between_score_and_share() -> None:
    scores, fraud = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, False, True, False])
    assert calibration(scores, fraud) == [(2, pytest.approx(0.05), 0.0), (2, pytest.approx(0.95), 0.5)]
    assert calibration_error(scores, fraud) == pytest.approx((0.05 + 0.45) / 2)


def test_a_score_of_one_belongs_to_the_last_tenth() -> None:
    assert calibration(np.array([1.0]), np.array([True])) == [(1, 1.0, 1.0)]


def test_even_tenths_see_what_equal_widths_hide() -> None:
    scores = np.repeat([0.001, 0.003, 0.005, 0.007, 0.009], 2000)
    fraud = np.tile(np.arange(2000) < 10, 5)
    assert calibration_error(scores, fraud) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(scores, fraud, even_edges(scores)) == pytest.approx(0.0024)


def test_even_edges_cut_the_scores_into_tenths_however_many_there_are() -> None:
    scores = np.random.default_rng(2).random(200_000) ** 4
    counts = [events for events, _, _ in calibration(scores, scores > 2, even_edges(scores))]
    assert len(counts) == 10
    assert min(counts) > 19_000
    assert even_edges(np.array([])).tolist() == [0.0]
