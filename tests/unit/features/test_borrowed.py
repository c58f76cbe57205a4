"""A store of other features answers in our order, and with NaN for what it does not know."""

import math

import msgspec
import pytest

from features.borrowed import Borrowed
from features.catalogue import FeatureSet
from features.grammar import Scope, parse_all
from features.store import InMemoryFeatureStore, Source, Status
from tests.contract.schedules import label, transaction

ENTITIES = ("card", "merchant", "device")


def features(*declared):
    scope = Scope(ENTITIES, ("country", "channel"), ("age",), "UTC", True)
    return FeatureSet(parse_all(declared, scope), ENTITIES)


OLD = features("amount", "count by card over 1h", "count by merchant over 1d")
NEW = features(
    "count by merchant over 1d", "night", "count by card over 2h", "amount", "count by card over 1h"
)


@pytest.fixture
def inner():
    return InMemoryFeatureStore(OLD)


@pytest.fixture
def borrowed(inner):
    return Borrowed(inner, OLD, NEW)


def test_what_is_known_stands_in_our_order_and_the_rest_is_missing(borrowed):
    assert borrowed.unknown == ("card_count_2h",)
    assert NEW.names == ("merchant_count_1d", "night", "card_count_2h", "amount", "card_count_1h")
    first, _, again, late = borrowed.apply(
        [
            transaction("t1", 0.0, amount=500),
            label("l1", "t1", 1.0),
            transaction("t1", 0.0, amount=500),
            transaction("t2", 2.0, amount=700),
        ]
    )
    assert (first.status, again.status) == (Status.FRESH, Status.DUPLICATE)
    assert first.vector[0] == 1.0
    assert first.vector[1] in (0.0, 1.0), "of the event alone, so known"
    assert math.isnan(first.vector[2])
    assert first.vector[3:] == (5.0, 1.0)
    assert again.vector[3:] == first.vector[3:]
    assert (late.vector[0], late.vector[4]) == (2.0, 2.0)


def test_labels_and_conflicts_have_no_vector(borrowed):
    answers = borrowed.apply(
        [
            transaction("t1", 0.0),
            label("l1", "t1", 1.0),
            msgspec.structs.replace(transaction("t1", 0.0), body=b"other567"),
        ]
    )
    assert [each.status for each in answers] == [Status.FRESH, Status.LABELLED, Status.CONFLICT]
    assert [bool(each.vector) for each in answers] == [True, False, False]


def test_a_feature_that_measures_something_else_under_the_same_name_is_not_known(inner):
    other = msgspec.structs.replace(
        NEW,
        features=tuple(
            msgspec.structs.replace(f, window_us=1_000_000) if f.window_us else f for f in NEW.features
        ),
    )
    assert Borrowed(inner, OLD, other).unknown == ("merchant_count_1d", "card_count_2h", "card_count_1h")


def test_places_and_what_is_forgotten_are_those_of_the_store_that_is_asked(borrowed, inner):
    borrowed.apply([transaction("t1", 0.0)], Source("t", 0, 0, 1))
    assert borrowed.positions() == inner.positions() == {("t", 0): 1}
    (value, *_) = transaction("t1", 0.0).entities
    assert borrowed.forget("card", value)
    assert not borrowed.forget("card", value)
    borrowed.close()
