"""The first fraud of an entity, whatever became of its label since."""

from __future__ import annotations

import math

from features.catalogue import Feature, FeatureSet, Kind
from tests.contract.schedules import REMEMBER, SECOND, label, transaction

ALONE = FeatureSet(
    (Feature("first", Kind.SINCE_FIRST_FRAUD, "shop"),), ("card", "shop"), remember_us=REMEMBER
)
BOUNDED = FeatureSet(ALONE.features, ALONE.entities, remember_us=REMEMBER, records=2)


def first_fraud(answers):
    return [answer.vector[0] for answer in answers if answer.vector]


def test_it_is_known_from_its_arrival_on_and_does_not_end_with_a_window(make_store):
    batch = [transaction("t0", 0), label("l0", "t0", 5), transaction("t1", 4, 6), transaction("t2", 5)]
    batch += [label("m1", "t1", 7000, False), transaction("t3", 7001), transaction("t4", 2, 8)]
    got = first_fraud(make_store(ALONE).apply(batch))
    assert math.isnan(got[0])
    assert got[1:4] == [1.0, 0.0, 6996.0]


def test_of_one_taken_back_the_next_counts(make_store):
    events = [transaction(f"t{at}", at) for at in range(3)]
    labels = [label("l0", "t0", 3), label("l1", "t1", 5), label("l2", "t0", 7, False, reverses="l0")]
    probes = [transaction("before", 6.5), transaction("after", 8)]
    assert first_fraud(make_store(ALONE).apply([*events, *labels, *probes]))[3:] == [3.5, 3.0]


def test_it_is_remembered_when_its_label_left_and_one_taken_back_is_not(make_store):
    events = [transaction(f"t{at}", 0) for at in range(9)]
    labels = [label("l0", "t0", 1), label("m0", "t0", 2, False, reverses="l0"), label("l1", "t1", 3)]
    labels += [label(f"l{at}", f"t{at}", at + 2, False) for at in range(2, 9)]
    probe = transaction("late", 0, 20)
    assert (
        first_fraud(make_store(BOUNDED).apply([*events, *labels, probe]))[-1]
        == (20 * SECOND - 3 * SECOND) / 1e6
    )
