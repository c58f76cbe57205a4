"""Bins follow the data: even where it is even, a bin of its own for what is frequent, and finer at the tails."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from river import linear_model

from models.bins import LayeredBins, QuantileBins, fit_edges

FEATURES = ("amount", "night")


@given(st.lists(st.floats(width=32)), st.integers(1, 40))
def test_edges_ascend_end_in_infinity_and_stay_within_the_data(values: list[float], bins: int) -> None:
    edges = fit_edges(values, bins)
    finite = [value for value in values if math.isfinite(value)]
    assert edges == sorted(set(edges))
    assert edges[-1] == math.inf
    assert len(edges) <= bins
    assert all(min(finite) < edge <= max(finite) for edge in edges[:-1])


def test_even_data_gets_even_bins() -> None:
    edges = fit_edges([float(value) for value in range(800)], bins=8)
    counts = Counter(bisect_right(edges, value) for value in range(800))
    assert sorted(counts.values()) == [100] * 8


def test_a_frequent_value_has_a_bin_of_its_own_and_the_rest_keep_theirs() -> None:
    edges = fit_edges([0.0] * 900 + [1 + value / 100 for value in range(90)], bins=10)
    assert bisect_right(edges, 0.0) == 0
    assert edges[0] == 0.5
    assert len(edges) == 10


def test_the_tails_are_cut_finer_once_there_are_values_enough() -> None:
    values = [float(value) for value in range(2000)]
    assert len([edge for edge in fit_edges(values, bins=4) if edge > 1900]) == 4
    assert len([edge for edge in fit_edges(values[:500], bins=4) if edge > 480]) == 1


def test_a_binary_has_two_bins_and_a_constant_one() -> None:
    assert fit_edges([0.0, 1.0] * 1000, bins=32) == [0.5, math.inf]
    assert fit_edges([3.0] * 2000, bins=32) == [math.inf]
    assert fit_edges([math.nan, math.inf], bins=32) == [math.inf]


def test_missing_values_share_the_last_bin_with_infinity_and_with_nothing_else() -> None:
    bins = QuantileBins(FEATURES, bins=4, first=100)
    for value in range(100):
        bins.learn_one({"amount": float(value), "night": math.nan}, False)
    missing = bins.transform_one({"night": 1.0})
    assert missing == bins.transform_one({"amount": math.nan, "night": -1e9})
    assert missing == bins.transform_one({"amount": math.inf, "night": 0.0})
    assert missing != bins.transform_one({"amount": 1e300, "night": math.nan})


def test_bins_are_fitted_after_the_first_vectors_and_then_after_twice_as_many() -> None:
    bins = QuantileBins(FEATURES, bins=4, first=100)
    fits = [
        number for number in range(1, 1000) if bins.learn_vector((float(number), 0.0), False) and fitted(bins)
    ]
    assert fits == [100, 200, 400, 800]


def fitted(bins: QuantileBins) -> bool:
    bins.fit()
    return True


def test_later_bins_follow_what_came_since_the_last_fit() -> None:
    bins = QuantileBins(("count",), bins=4, first=100)
    for value in [0.0] * 100 + [float(value) for value in range(100)]:
        bins.learn_one({"count": value}, False)
    assert len(bins.edges[0]) == 4


@given(st.integers(1, 300), st.integers(1, 50))
def test_the_sample_never_outgrows_its_bound(vectors: int, sample: int) -> None:
    bins = QuantileBins(FEATURES, bins=4, first=20, sample=sample)
    for number in range(vectors):
        bins.learn_one({"amount": float(number), "night": 0.0}, False)
        assert len(bins.kept) <= sample * len(FEATURES)


def test_the_bins_are_finer_where_the_frauds_are() -> None:
    bins = QuantileBins(("amount",), bins=8, first=4000)
    for number in range(4000):
        fraud = number % 100 == 0
        bins.learn_one({"amount": 50.0 + number / 4000 if fraud else number % 500 / 5}, fraud)
    assert len([edge for edge in bins.edges[0] if 50 <= edge <= 51]) >= 3


def test_the_frauds_kept_are_the_latest_and_bounded() -> None:
    bins = QuantileBins(("amount",), sample=40)
    for number in range(100):
        bins.learn_vector((float(number),), True)
    assert bins.frauds.tolist() == [float(number) for number in range(90, 100)]


def test_neighbours_share_a_wider_bin_and_missing_values_none() -> None:
    bins = LayeredBins(("amount",), bins=8, first=64, merged=(2, 4))
    for number in range(64):
        bins.learn_one({"amount": float(number)}, False)
    ((narrow, pairs, fours),) = bins.layers()
    assert [len(layer.edges) for layer in (narrow, pairs, fours)] == [8, 4, 2]
    for value in [*map(float, range(-1, 66)), *narrow.edges, -math.inf, math.nan]:
        keys = list(bins.transform_one({"amount": value}))
        place = int(keys[0].removeprefix("amount#"))
        missing = not value < math.inf
        assert (place == 8) == missing
        wider = (4, 2) if missing else (place // 2, place // 4)
        assert keys[1:] == [f"amount/2#{wider[0]}", f"amount/4#{wider[1]}"]


def test_more_neighbours_than_there_are_bins_make_one_bin() -> None:
    bins = LayeredBins(("amount",), bins=2, first=4, merged=(12,))
    for number in range(4):
        bins.learn_one({"amount": float(number)}, False)
    assert [list(bins.transform_one({"amount": value}))[1] for value in (0.0, 3.0, math.nan)] == [
        "amount/12#0",
        "amount/12#0",
        "amount/12#1",
    ]


def test_the_bins_work_in_a_pipeline_of_river() -> None:
    draw = random.Random(1)
    model = QuantileBins(("amount",), bins=8, first=100) | linear_model.LogisticRegression()
    for _ in range(3000):
        amount = draw.random()
        model.learn_one({"amount": amount}, 0.4 < amount < 0.6)
    middle, low = (model.predict_proba_one({"amount": amount})[True] for amount in (0.5, 0.1))
    assert middle > 2 * low
