"""How far and how fast, from one place on earth to the next."""

from __future__ import annotations

import math

import pytest

from features.catalogue import Feature, FeatureSet, Kind
from features.compute import Plan
from features.events import Transaction
from features.grammar import DeclarationError, Scope, parse
from features.places import EARTH_KM, FINE, NOWHERE, distance_km, place_reader
from features.store import InMemoryFeatureStore

SECOND = 1_000_000
FEATURES = FeatureSet(
    tuple(Feature(kind, kind, "card", place=("lat", "lon")) for kind in (Kind.DISTANCE, Kind.SPEED)),
    ("card",),
)
PARIS, LONDON = {"lat": 48.8566, "lon": 2.3522}, {"lat": 51.5074, "lon": -0.1278}


def at(second, fields, name=""):
    event_id = name or f"{second}"
    return Transaction(event_id, second * SECOND, 9 * SECOND, 100, "EUR", ("a",), fields, b"body0000")


def told(*events):
    return [each.vector for each in InMemoryFeatureStore(FEATURES).apply(events)]


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ((0, 0), (90, 0), math.pi / 2),
        ((90, 17), (-90, 5), math.pi),
        ((0, 179), (0, -179), math.radians(2)),
        ((0, 0), (0, 180), math.pi),
        ((12, 34), (12, 34), 0),
    ],
)
def test_the_great_circle_is_the_angle_between_times_the_radius(one, other, km):
    places = [(north * FINE, east * FINE) for north, east in (one, other)]
    assert distance_km(*places) == pytest.approx(km * EARTH_KM, abs=1e-9)
    assert distance_km(*reversed(places)) == pytest.approx(km * EARTH_KM, abs=1e-9)


def test_speed_is_the_distance_by_the_time_that_passed():
    first, (km, speed) = told(at(0, PARIS), at(2, LONDON))
    assert all(map(math.isnan, first))
    assert km == pytest.approx(343.56, abs=0.01)
    assert speed == pytest.approx(km * 1800)


def test_events_of_equal_times_are_a_second_apart():
    _, (km, speed), _ = told(at(0, PARIS), at(0, LONDON, "again"), at(1, PARIS))
    assert speed == pytest.approx(km * 3600)


def test_a_late_event_is_measured_from_the_one_before_it_in_time():
    *_, (km, _), (after, _) = told(at(0, PARIS), at(8, LONDON), at(4, PARIS), at(9, LONDON))
    assert (km, after) == (0.0, 0.0)


@pytest.mark.parametrize(
    "fields",
    [{}, {"lat": 1.0}, {"lat": 90.1, "lon": 0.0}, {"lat": 0.0, "lon": -180.5}, {"lat": math.nan, "lon": 0.0}],
)
def test_an_event_without_a_place_on_earth_has_none_and_gives_none(fields):
    assert place_reader(("lat", "lon"))(at(0, fields)) == NOWHERE
    for vector in told(at(0, PARIS), at(1, fields), at(2, PARIS))[1:]:
        assert all(map(math.isnan, vector))


def test_all_features_of_a_set_are_from_the_same_two_fields():
    other = Feature("other", Kind.SPEED, "card", place=("y", "x"))
    with pytest.raises(ValueError, match="from the same two fields"):
        Plan(FeatureSet((*FEATURES.features, other), ("card",)))


def test_a_declaration_names_two_number_fields():
    scope = Scope(("card",), numbers=("lat", "lon"))
    (feature,) = parse("speed by card from lat lon", scope)
    assert (feature.name, feature.place) == ("card_speed", ("lat", "lon"))
    for line, problem in (
        ("speed by card", 'it ends with "from LATITUDE LONGITUDE"'),
        ("distance by card from lat", 'it ends with "from LATITUDE LONGITUDE"'),
        ("distance by card from lat lot", r"'lot' is not a field of \[source\] numbers"),
    ):
        with pytest.raises(DeclarationError, match=problem):
            parse(line, scope)
