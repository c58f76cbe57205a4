"""Every feature store answers as the oracle does, to the bit; the in-memory one is the reference for the rest."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import DAY_US, Feature, FeatureSet, Kind
from features.ids import tie_of
from features.store import InMemoryFeatureStore, Status
from tests.contract.oracle import Oracle
from tests.contract.schedules import (
    EVERY,
    PARTS,
    PLAIN,
    REMEMBER,
    SECOND,
    WINDOWS,
    bits,
    feature_set,
    label,
    schedules,
    split,
    transaction,
)

ALL = feature_set()
HOUR = 3600
KINDS = st.sampled_from([EVERY, PLAIN, *(PLAIN | {kind} for kind in sorted(EVERY - PLAIN))])


def value(features, applied, name):
    return applied.vector[features.names.index(name)]


def statuses(answers):
    return [answer.status for answer in answers]


@settings(max_examples=120)
@given(data=st.data(), schedule=schedules(), kinds=KINDS, records=st.sampled_from([1, 2, 3, 5, 10_000]))
def test_a_store_answers_as_one_that_looks_at_every_record(make_store, data, schedule, kinds, records):
    features = feature_set(kinds, records=records)
    store = make_store(features)
    answers = [answer for batch in data.draw(split(schedule)) for answer in store.apply(batch)]
    assert bits(answers) == bits(Oracle(features).apply(schedule))


@settings(max_examples=60)
@given(data=st.data(), schedule=schedules((1,)), kinds=KINDS, records=st.sampled_from([3, 10_000]))
def test_a_batch_that_was_applied_in_part_is_made_whole_by_applying_it_again(
    make_store, data, schedule, kinds, records
):
    features = feature_set(kinds, records=records)
    torn, whole = make_store(features), InMemoryFeatureStore(features)
    torn.apply(schedule[: data.draw(st.integers(0, len(schedule)))])
    torn.apply(schedule)
    whole.apply(schedule)
    probes = [
        transaction(f"p{at}{card}", at, entities=(card, shop))
        for at in (30, 99)
        for card, shop in ("ax", "by")
    ]
    assert [each[2:] for each in bits(torn.apply(probes))] == [each[2:] for each in bits(whole.apply(probes))]


def test_the_same_batch_twice_gets_the_first_answers_and_changes_nothing(make_store):
    store = make_store(ALL)
    batch = [transaction("t1", 0), transaction("t2", 1), label("l1", "t1", 2), transaction("t3", 3)]
    first, again = store.apply(batch), store.apply(batch)
    assert statuses(again) == [
        Status.DUPLICATE,
        Status.DUPLICATE,
        Status.LABEL_DUPLICATE,
        Status.DUPLICATE,
    ]
    assert [row[1:] for row in bits(again)] == [row[1:] for row in bits(first)]
    (after,) = store.apply([transaction("t4", 4)])
    assert value(ALL, after, f"card_count_{10 * SECOND}") == 4
    assert value(ALL, after, f"card_labels_{10 * SECOND}") == 1
    assert after.seq == 5


def test_what_is_told_as_an_age_is_told_again_as_it_was(make_store):
    features = feature_set()
    store = make_store(features)
    store.apply([transaction("t", 0), label("l", "t", 2)])
    event = transaction("u", 5)
    first, again = store.apply([event, msgspec.structs.replace(event, arrived_us=event.arrived_us + SECOND)])
    assert value(features, first, f"card_run_age_{WINDOWS[0]}") == 3.0
    assert again.vector == pytest.approx(first.vector, rel=0, abs=0, nan_ok=True)


def test_the_same_id_with_another_body_is_a_conflict_and_counts_for_nothing(make_store):
    store = make_store(ALL)
    first, conflict, after = store.apply(
        [transaction("t1", 0), transaction("t1", 1, body=b"another0"), transaction("t2", 2)]
    )
    assert (conflict.status, conflict.seq, conflict.vector) == (Status.CONFLICT, first.seq, ())
    assert value(ALL, after, f"card_count_{10 * SECOND}") == 2


def test_a_late_event_sees_what_is_there_and_changes_nothing(make_store):
    store = make_store(ALL)
    seen = transaction("t0", 0)
    late = transaction("t1", 5, 5 + REMEMBER / SECOND + 1)
    answers = store.apply([seen, late, late, transaction("t2", 6, 107)])
    assert statuses(answers) == [Status.FRESH, Status.LATE, Status.LATE, Status.LATE]
    assert [answer.seq for answer in answers] == [1, 0, 0, 0]
    assert value(ALL, answers[1], f"card_count_{10 * SECOND}") == 2
    assert value(ALL, answers[3], f"card_count_{10 * SECOND}") == 2


def test_a_window_holds_its_newest_edge_and_not_its_oldest(make_store):
    store = make_store(ALL)
    _, at_the_edge, inside = store.apply(
        [transaction("t1", 0), transaction("t2", 10), transaction("t3", 19.999999)]
    )
    assert value(ALL, at_the_edge, f"card_count_{10 * SECOND}") == 1
    assert value(ALL, inside, f"card_count_{10 * SECOND}") == 2


def test_a_label_counts_from_its_arrival_whatever_the_order_of_applying(make_store):
    store = make_store(ALL)
    answers = store.apply(
        [
            transaction("t1", 0),
            label("l1", "t1", 8),
            transaction("t2", 7),
            transaction("t3", 8),
            transaction("t4", 18),
        ]
    )
    risks = [value(ALL, answers[at], f"shop_risk_{10 * SECOND}") for at in (2, 3, 4)]
    assert risks == [0.0, 1.0, 0.0]


def test_a_label_waits_for_its_event_and_counts_once_it_is_there(make_store):
    store = make_store(ALL)
    answers = store.apply(
        [label("l1", "t1", 1), transaction("t1", 2), label("l1", "t1", 3), transaction("t2", 4)]
    )
    assert statuses(answers) == [
        Status.LABEL_PENDING,
        Status.FRESH,
        Status.LABEL_DUPLICATE,
        Status.FRESH,
    ]
    assert value(ALL, answers[1], f"shop_labels_{10 * SECOND}") == 0
    assert value(ALL, answers[3], f"shop_labels_{10 * SECOND}") == 1


def test_a_label_that_is_taken_back_stops_counting_even_before_it_came(make_store):
    store = make_store(ALL)
    early = label("l3", "t1", 1, fraud=False, reverses="l2")
    answers = store.apply(
        [
            transaction("t1", 0),
            label("l1", "t1", 0),
            early,
            label("l2", "t1", 1),
            transaction("t2", 2),
            label("l4", "t1", 3, fraud=False, reverses="l1"),
            transaction("t3", 4),
        ]
    )
    name = f"shop_frauds_{10 * SECOND}"
    assert [value(ALL, answers[at], name) for at in (4, 6)] == [1, 0]
    assert value(ALL, answers[6], f"shop_labels_{10 * SECOND}") == 2


def test_a_label_beyond_the_horizon_changes_no_feature(make_store):
    features = feature_set(label_horizon_us=5 * SECOND)
    answers = make_store(features).apply([transaction("t1", 0), label("l1", "t1", 6), transaction("t2", 7)])
    assert (answers[1].status, answers[1].seq) == (Status.LABEL_LATE, 0)
    assert value(features, answers[2], f"shop_labels_{10 * SECOND}") == 0


def test_an_early_label_beyond_the_horizon_changes_no_feature_either(make_store):
    early, late = label("l1", "t1", 80), label("l2", "t1", 81)
    answers = make_store(ALL).apply([early, late, transaction("t1", 0), transaction("t2", 82)])
    assert statuses(answers)[:2] == [Status.LABEL_PENDING] * 2
    assert value(ALL, answers[3], f"shop_labels_{10 * SECOND}") == 1


def test_a_label_is_gone_at_the_very_moment_of_its_correction(make_store):
    answers = make_store(ALL).apply(
        [
            transaction("t1", 0),
            label("l1", "t1", 1),
            label("l2", "t1", 3, fraud=False, reverses="l1"),
            transaction("t2", 2.999999),
            transaction("t3", 3),
        ]
    )
    assert [value(ALL, answers[at], f"shop_frauds_{10 * SECOND}") for at in (3, 4)] == [1, 0]


def test_a_label_that_had_to_leave_counts_on_from_its_arrival(make_store):
    features = feature_set(records=1)
    batch = [transaction("t0", 0), transaction("t1", 1), label("l0", "t0", 5), label("l1", "t1", 7)]
    batch += [transaction("t2", 6), transaction("t3", 8)]
    answers = make_store(features).apply(batch)
    for name in ("shop_labels", "shop_frauds"):
        assert [value(features, answers[at], f"{name}_{60 * SECOND}") for at in (4, 5)] == [1, 2]
    assert answers[4].approximate


def test_an_id_is_remembered_for_the_longer_span_and_then_forgotten(make_store):
    store = make_store(ALL)
    first = transaction("t1", 0)
    store.apply([first, transaction("t2", 100)])
    assert statuses(store.apply([first])) == [Status.DUPLICATE]
    answers = store.apply([transaction("t3", 100.000001), first])
    assert statuses(answers) == [Status.FRESH, Status.FRESH]


def test_an_entity_that_was_idle_for_too_long_is_as_new(make_store):
    idle = (REMEMBER + WINDOWS[-1] + DAY_US) / SECOND
    for since, known in ((idle, True), (idle + 0.000001, False)):
        _, answer = make_store(ALL).apply([transaction("t1", 0), transaction("t2", since)])
        assert math.isnan(value(ALL, answer, "card_since")) is not known


def test_values_are_counted_on_where_the_labels_of_an_entity_were_forgotten_and_come_anew(make_store):
    hours = [at * HOUR for at in (0, 20, 40)]
    batch = [transaction(f"t{at}", at) for at in hours]
    batch[1:1] = [label("l1", batch[0].event_id, 1)]  # idle for longer than a day when the next label comes
    store = make_store(ALL)
    store.apply([*batch, label("l2", batch[-1].event_id, hours[-1] + 1)])
    (applied,) = store.apply([transaction("again", hours[-1] + 2)])
    assert value(ALL, applied, f"card_distinct_shop_{WINDOWS[0]}") == 1
    assert value(ALL, applied, f"card_share_shop_{WINDOWS[0]}") == 1


def test_values_that_reach_a_record_which_had_to_leave_say_that_they_are_approximate(make_store):
    features = feature_set(records=2)
    answers = make_store(features).apply([transaction(f"t{at}", at) for at in range(4)])
    assert [answer.approximate for answer in answers] == [False, False, False, True]
    assert value(features, answers[3], f"card_count_{10 * SECOND}") == 4
    assert value(features, answers[3], f"card_distinct_shop_{10 * SECOND}") == 1


def test_of_records_of_one_time_the_one_with_the_lower_tie_leaves_first(make_store):
    features = feature_set(records=2)
    low, high = sorted(("one", "other"), key=tie_of)
    store = make_store(features)
    store.apply([transaction(high, 1, amount=100), transaction(low, 1, amount=7), transaction("third", 2)])
    (applied,) = store.apply([transaction("fourth", 3, amount=50)])
    assert (
        value(features, applied, "card_rank") == 0.0
    )  # of the 1.00 and the 10.00 that are left, not the .07
    assert value(features, applied, f"card_sum_{WINDOWS[0]}") == 11.57


def test_an_approximate_duplicate_says_so_again(make_store):
    store = make_store(feature_set(records=1))
    batch = [transaction(f"t{at}", at) for at in range(3)]
    store.apply(batch)
    assert [answer.approximate for answer in store.apply(batch)] == [False, False, True]


def test_an_event_without_the_entity_has_zeros_and_nan(make_store):
    answers = make_store(ALL).apply([transaction(f"t{at}", at, entities=("", "x")) for at in range(2)])
    whole = [each for each in ALL.features if each.entity == "card" and not each.same and not each.where[0]]
    told = [(each.kind, value(ALL, answers[1], each.name)) for each in whole]
    assert {kind for kind, number in told if number == 0} == {
        Kind.COUNT,
        Kind.SUM,
        Kind.DISTINCT,
        Kind.CUSUM,
        Kind.DECAYED_COUNT,
        Kind.DECAYED_SUM,
        Kind.LABELS,
        Kind.FRAUDS,
        Kind.RISK,
        Kind.FRAUD_RUN,
        Kind.LEGITIMATE_RUN,
    }
    assert {kind for kind, number in told if number > 0} == {Kind.RISK}  # one with a prior


def test_a_day_of_one_busy_card_is_counted_to_the_last_cent(make_store):
    features = FeatureSet((Feature("sum", Kind.SUM, "card", 60 * SECOND),), ("card",), records=100)
    store = make_store(features)
    batch = [transaction(f"t{at}", at, amount=at * at - 7, entities=("a",)) for at in range(3000)]
    answers = [each for at in range(0, 3000, 250) for each in store.apply(batch[at : at + 250])]
    expected = sum(at * at - 7 for at in range(2940, 3000)) / 100
    assert answers[-1].vector == (expected,)
    assert not any(answer.approximate for answer in answers)


def test_amounts_that_no_float_holds_are_added_and_compared_exactly(make_store):
    amounts = [(1 << 53) + 1, -(1 << 61), 1 << 61, 2]
    answers = make_store(ALL).apply(
        [transaction(f"t{at}", at, amount=each) for at, each in enumerate(amounts)]
    )
    names = ("card_sum", "card_min", "card_max")
    got = [value(ALL, answers[-1], f"{name}_{10 * SECOND}") for name in names]
    assert got == [((1 << 53) + 3) / 100, -(1 << 61) / 100, (1 << 61) / 100]


def test_an_empty_batch_has_no_answers(make_store):
    assert make_store(ALL).apply([]) == []


def test_a_bound_below_one_record_is_refused(make_store):
    with pytest.raises(ValueError, match="records must be at least 1"):
        make_store(feature_set(records=0))


def test_a_value_that_was_forgotten_is_as_new_and_its_neighbours_are_not(make_store):
    store = make_store(ALL)
    batch = [transaction("t1", 0), transaction("t2", 1, entities=("b", "x")), label("l1", "t1", 2)]
    store.apply(batch)
    assert store.forget("card", "a")
    assert statuses(store.apply(batch)) == [Status.DUPLICATE, Status.DUPLICATE, Status.LABEL_DUPLICATE]
    again, other = store.apply([transaction("t3", 3), transaction("t4", 4, entities=("b", "x"))])
    assert value(ALL, again, f"card_count_{10 * SECOND}") == 1
    assert value(ALL, again, f"card_distinct_shop_{10 * SECOND}") == 1
    assert value(ALL, again, f"card_labels_{10 * SECOND}") == 0
    assert math.isnan(value(ALL, again, "card_since"))
    assert value(ALL, other, f"card_count_{10 * SECOND}") == 2
    assert value(ALL, other, f"shop_count_{10 * SECOND}") == 4


def test_parts_of_a_value_are_forgotten_with_it_and_those_of_its_neighbours_are_not(make_store):
    store = make_store(ALL)
    for card in "ab":
        store.apply([transaction(f"{card}1", 1, entities=(card, "x"), fields={"country": "FR"})])
    assert store.forget("card", "a")
    seen = [transaction(f"{card}2", 2, entities=(card, "x"), fields={"country": "FR"}) for card in "ab"]
    gone, kept = store.apply(seen)
    for part in PARTS:
        name = f"card_count_{WINDOWS[0]}_{part}"
        assert (value(ALL, gone, name), value(ALL, kept, name)) == (1.0, 2.0)


def test_amounts_of_two_currencies_are_never_added(make_store):
    store = make_store(ALL)
    payments = [transaction("e", 1, currency="EUR"), transaction("j", 2, currency="JPY", amount=7)]
    euro, yen = (value(ALL, each, f"card_sum_{WINDOWS[0]}_currency") for each in store.apply(payments))
    assert (euro, yen) == (10.0, 7.0)


def test_an_event_that_is_not_meant_sees_those_that_are(make_store):
    store, name = make_store(ALL), f"card_count_{WINDOWS[0]}_french"
    countries = [("1", "FR"), ("2", "DE"), ("3", "FR")]
    events = [transaction(at, int(at), fields={"country": country}) for at, country in countries]
    assert [value(ALL, each, name) for each in store.apply(events)] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("kinds", [EVERY, PLAIN])
def test_what_was_read_for_a_later_event_is_still_there_for_an_earlier_one(make_store, kinds):
    features = feature_set(kinds)
    store, name = make_store(features), f"card_count_{WINDOWS[0]}_french"
    (at, country) = zip(*[(0, "FR"), (20, "DE"), (5, "FR")], strict=True)
    events = [
        transaction(f"{each}", each, 20, fields={"country": of}) for each, of in zip(at, country, strict=True)
    ]
    assert [value(features, each, name) for each in store.apply(events)] == [1.0, 0.0, 2.0]


def test_forgetting_again_or_what_was_never_known_changes_nothing_and_says_so(make_store):
    store = make_store(ALL)
    store.apply([transaction("t1", 0)])
    assert [store.forget("card", "a"), store.forget("card", "a"), store.forget("card", "b")] == [
        True,
        False,
        False,
    ]
    assert [store.forget("shop", "a"), store.forget("shop", "x")] == [False, True]


def test_a_value_of_no_entity_cannot_be_forgotten(make_store):
    with pytest.raises(ValueError, match="'customer' is no entity of these features; known are card, shop"):
        make_store(ALL).forget("customer", "a")


def test_a_label_that_comes_after_its_value_was_forgotten_counts_for_it_again(make_store):
    store, reference = make_store(ALL), InMemoryFeatureStore(ALL)
    for each in (store, reference):
        each.apply([transaction("t1", 0), label("l1", "t1", 1)])
        each.forget("card", "a")
    after = [label("l2", "t1", 2, fraud=True), transaction("t2", 3)]
    assert bits(store.apply(after)) == bits(reference.apply(after))
