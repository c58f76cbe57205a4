"""Feature definitions and the hashes that name them."""

from __future__ import annotations

import msgspec
import pytest

from features.catalogue import DAY_US, Feature, FeatureSet, Kind, feature_hash

RISK = Feature("terminal_risk_1d", Kind.RISK, "terminal", DAY_US, words="share of frauds")
NIGHT = Feature("night", Kind.NIGHT)
SET = FeatureSet(features=(NIGHT, RISK), entities=("customer", "terminal"))


def test_the_hashes_never_change_while_the_format_is_1() -> None:
    assert feature_hash(RISK) == "0ecc7fb39bfa4f28"
    assert SET.version == "3e2956a1e18bdbae"


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "x"), ("kind", Kind.FRAUDS), ("entity", "customer"), ("window_us", 1), ("field", "x")],
)
def test_another_meaning_has_another_hash(field: str, value: object) -> None:
    other = msgspec.structs.replace(RISK, **{field: value})
    assert feature_hash(other) != feature_hash(RISK)
    assert msgspec.structs.replace(SET, features=(NIGHT, other)).version != SET.version


def test_other_words_for_the_same_meaning_keep_the_hash() -> None:
    other = msgspec.structs.replace(RISK, words="how many of its labels say fraud")
    assert feature_hash(other) == feature_hash(RISK)
    assert msgspec.structs.replace(SET, features=(NIGHT, other)).version == SET.version


def test_the_zone_counts_only_for_features_that_look_at_the_clock_on_the_wall() -> None:
    assert feature_hash(RISK, "Europe/Paris") == feature_hash(RISK, "UTC")
    for kind in (Kind.NIGHT, Kind.WEEKEND, Kind.HOUR):
        feature = Feature(kind.value, kind)
        assert feature_hash(feature, "Europe/Paris") != feature_hash(feature, "UTC")
    assert msgspec.structs.replace(SET, timezone="Europe/Paris").version != SET.version


@pytest.mark.parametrize(
    ("field", "value"),
    [("entities", ("terminal", "customer")), ("remember_us", 1), ("records", 1), ("label_horizon_us", 1)],
)
def test_another_bound_makes_another_set(field: str, value: object) -> None:
    assert msgspec.structs.replace(SET, **{field: value}).version != SET.version


def test_the_order_of_the_features_is_part_of_the_set() -> None:
    assert msgspec.structs.replace(SET, features=(RISK, NIGHT)).version != SET.version
