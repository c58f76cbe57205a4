"""What the features mean, one by one, through the store in memory."""

from __future__ import annotations

import math
import struct
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from features.catalogue import DAY_US, HOUR_OF_DAY, WEEKDAY, Feature, FeatureSet, Kind
from features.compute import MAX_RECORDS, Plan
from features.events import Label, Transaction, to_us
from features.store import InMemoryFeatureStore

HOUR_US = 3_600_000_000
NOON = to_us(datetime(2026, 3, 4, 12, tzinfo=ZoneInfo("UTC")))  # a Wednesday


def transaction(at=NOON, amount=1000, currency="EUR", card="c1", fields=None, number=[0]):  # noqa: B006
    number[0] += 1
    return Transaction(str(number[0]), at, at, amount, currency, (card,), fields or {}, bytes(8))


def of(kind, *events, window=DAY_US, field="", timezone="UTC"):
    """The values of one feature for events that follow each other."""
    entity = "" if kind in (Kind.AMOUNT, Kind.NUMBER, Kind.HOUR, Kind.NIGHT, Kind.WEEKEND) else "card"
    features = FeatureSet((Feature("f", kind, entity, window, field),), ("card",), timezone)
    return [answer.vector[0] for answer in InMemoryFeatureStore(features).apply(events)]


def at(*when, zone="UTC"):
    return transaction(to_us(datetime(*when, tzinfo=ZoneInfo(zone))))


@pytest.mark.parametrize(
    ("currency", "value"), [("EUR", 12.34), ("JPY", 1234.0), ("KWD", 1.234), ("CLF", 0.1234)]
)
def test_amounts_are_major_units_of_their_currency(currency, value):
    event = transaction(amount=1234, currency=currency)
    assert [of(kind, event) for kind in (Kind.AMOUNT, Kind.SUM, Kind.MEAN, Kind.MIN, Kind.MAX)] == [
        [value]
    ] * 5


def test_sums_are_exact_where_floats_are_not():
    events = [transaction(amount=each) for each in ((1 << 60) + 1, 1, -(1 << 60))]
    assert of(Kind.SUM, *events)[-1] == 0.02


def test_the_ratio_is_to_the_mean_of_those_before():
    ratios = of(Kind.RATIO, *(transaction(amount=each) for each in (1000, 3000, 8000)))
    assert math.isnan(ratios[0])
    assert ratios[1:] == [3.0, 4.0]


def test_the_ratio_to_nothing_is_not_known_and_of_nothing_is_plain_zero():
    assert math.isnan(of(Kind.RATIO, transaction(amount=0), transaction(amount=5))[1])
    (_, zero) = of(Kind.RATIO, transaction(amount=-5), transaction(amount=0))
    assert struct.pack(">d", zero) == bytes(8)


def test_since_last_is_seconds_and_not_known_at_the_first():
    first, second, same = of(
        Kind.SINCE_LAST, transaction(), transaction(NOON + 1_500_000), transaction(NOON + 1_500_000), window=0
    )
    assert math.isnan(first)
    assert (second, same) == (1.5, 0.0)


def test_distinct_counts_texts_and_leaves_out_what_has_none():
    events = [
        transaction(fields=each) for each in ({"country": "FR"}, {}, {"country": "FR"}, {"country": "DE"})
    ]
    assert of(Kind.DISTINCT, *events, field="country") == [1, 1, 1, 2]


def test_spread_and_distance_are_of_the_sample_and_exact():
    events = [transaction(amount=each) for each in (1 << 60, (1 << 60) + 200, (1 << 60) + 100)]
    spread, distance = of(Kind.STD, *events), of(Kind.ZSCORE, *events)
    assert spread[1:] == [math.sqrt(20_000) / 100, 1.0]
    assert distance[2] == 0.0  # of two before, 200 apart: their very middle
    assert math.isnan(spread[0])
    assert all(map(math.isnan, distance[:2]))


def test_a_distance_from_amounts_that_never_vary_is_not_known():
    assert math.isnan(of(Kind.ZSCORE, *(transaction(amount=each) for each in (5, 5, 900)))[2])


def test_habits_are_shares_of_an_events_hour_and_weekday():
    events = [at(2026, 3, 4, 9), at(2026, 3, 5, 9), at(2026, 3, 6, 23)]
    assert of(Kind.SHARE, *events, field=HOUR_OF_DAY, window=7 * DAY_US) == [1.0, 1.0, 1 / 3]
    assert of(Kind.NEW, *events, field=WEEKDAY, window=7 * DAY_US) == [1.0, 1.0, 1.0]


def test_a_pair_is_new_once_in_its_window():
    events = [
        transaction(NOON + hours * HOUR_US, fields={"country": country})
        for hours, country in ((0, "FR"), (1, "DE"), (2, "FR"), (30, "FR"), (31, ""))
    ]
    assert of(Kind.NEW, *events, field="country")[:4] == [1.0, 1.0, 0.0, 1.0]
    assert math.isnan(of(Kind.NEW, *events, field="country")[4])


def test_entropy_is_nothing_for_one_value_and_a_bit_for_two_as_often():
    events = [transaction(fields={"country": each}) for each in ("FR", "FR", "DE", "DE")]
    assert of(Kind.ENTROPY, *events, field="country") == [0.0, 0.0, math.log2(9 / 5), 1.0]


def test_gaps_are_seconds_on_average_and_not_known_of_one_event():
    alone, *others = of(Kind.GAP, *(transaction(NOON + each * 1_000_000) for each in (0, 10, 40)))
    assert math.isnan(alone)
    assert others == [10.0, 20.0]


def test_velocity_is_how_often_now_against_how_often_as_a_rule():
    feature = Feature("f", Kind.VELOCITY, "card", HOUR_US, against_us=10 * HOUR_US)
    events = [transaction(NOON + hours * HOUR_US) for hours in (0, 3, 6, 6)]
    applied = InMemoryFeatureStore(FeatureSet((feature,), ("card",))).apply(events)
    assert [each.vector[0] for each in applied] == [10.0, 5.0, 10 / 3, 5.0]


def test_a_prior_keeps_one_fraud_of_one_from_being_certain():
    feature = Feature("f", Kind.RISK, "card", DAY_US, prior=(1, 49))
    store = InMemoryFeatureStore(FeatureSet((feature,), ("card",)))
    event = transaction()
    label = Label("l", event.event_id, True, "test", NOON + 1)
    assert [each.vector for each in store.apply([event, label, transaction(NOON + 2)])] == [
        (1 / 49,),
        (),
        (0.04,),
    ]


def test_a_number_that_is_absent_or_a_text_is_not_known():
    values = of(
        Kind.NUMBER, *(transaction(fields=each) for each in ({"n": 2.5}, {}, {"n": "2.5"})), field="n"
    )
    assert values[0] == 2.5
    assert all(map(math.isnan, values[1:]))


def test_the_weekend_is_that_of_the_profiles_zone():
    friday_night = at(2026, 3, 6, 23, 30)
    assert of(Kind.WEEKEND, friday_night) == [0.0]
    assert of(Kind.WEEKEND, friday_night, timezone="Europe/Paris") == [1.0]
    assert of(Kind.WEEKEND, at(2026, 3, 8, 23, 59), at(2026, 3, 9, 0, 0)) == [1.0, 0.0]


def test_the_night_ends_at_six():
    assert of(Kind.NIGHT, at(2026, 3, 4, 0, 0), at(2026, 3, 4, 5, 59), at(2026, 3, 4, 6, 0)) == [
        1.0,
        1.0,
        0.0,
    ]


def test_the_hour_follows_the_clock_on_the_wall_when_it_is_set():
    hours = of(
        Kind.HOUR,
        at(2026, 3, 29, 0, 59),
        at(2026, 3, 29, 1, 0),
        at(2026, 10, 25, 1, 0),
        timezone="Europe/Paris",
    )
    assert hours == [1.0, 3.0, 2.0]


def test_a_zone_that_set_its_clock_in_the_middle_of_a_quarter_is_followed_to_the_second():
    hours = of(Kind.HOUR, at(1972, 1, 7, 0, 44, 29), at(1972, 1, 7, 0, 44, 30), timezone="Africa/Monrovia")
    assert hours == [23.0, 0.0]


@pytest.mark.parametrize("year", [1, 9999])
def test_the_ends_of_the_calendar_stop_nobody(year):
    edge = to_us(datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, 12, tzinfo=ZoneInfo("UTC")))
    assert len(of(Kind.HOUR, transaction(edge), timezone="Pacific/Kiritimati")) == 1


def test_an_unknown_currency_stops_nobody():
    assert of(Kind.AMOUNT, transaction(amount=1234, currency="???")) == [12.34]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"records": 0}, "records must be at least 1"),
        ({"records": MAX_RECORDS + 1}, "records must be at least 1"),
        ({"remember_us": 0}, "longer than nothing"),
        ({"features": (Feature("f", Kind.COUNT, "nobody", 1),)}, "'nobody', which is no entity"),
        ({"features": (Feature("f", Kind.COUNT, "card"),)}, "needs a window"),
        ({"features": (Feature("f", Kind.COUNT),)}, "'', which is no entity"),
        ({"features": (Feature("f", Kind.RANK, "card"),)}, "must look at 1 to 64 events"),
        ({"features": (Feature("f", Kind.RANK, "card", last=65),)}, "must look at 1 to 64 events"),
        ({"features": (Feature("f", Kind.CUSUM, "card", last=5),)}, "needs a half-life"),
        ({"features": (Feature("f", Kind.VELOCITY, "card", 2, against_us=2),)}, "needs a longer window"),
    ],
)
def test_a_set_that_cannot_be_kept_is_refused_with_its_reason(changes, message):
    whole = {"features": (), "entities": ("card",)} | changes
    with pytest.raises(ValueError, match=message):
        Plan(FeatureSet(**whole))


def test_an_entity_that_no_feature_looks_at_costs_nothing():
    plan = Plan(FeatureSet((Feature("f", Kind.COUNT, "b", HOUR_US),), ("a", "b", "c")))
    assert [(entity.part.entity, entity.index) for entity in plan.entities] == [("b", 1)]
