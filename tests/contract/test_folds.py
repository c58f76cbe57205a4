"""Beyond the bound of records: nothing is lost from a count or a sum, and what is uncertain is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import Feature, FeatureSet, Kind
from features.redis_store import RedisFeatureStore
from features.store import InMemoryFeatureStore, Status
from tests.contract.schedules import (
    EVERY,
    PLAIN,
    REMEMBER,
    SECOND,
    WINDOWS,
    bits,
    feature_set,
    label,
    transaction,
)

KEY = b"a key for digests"
COUNTS = FeatureSet(
    tuple(Feature(f"{us}", Kind.COUNT, "card", us) for us in WINDOWS), ("card", "shop"), remember_us=REMEMBER
)
BOUNDED = feature_set(records=40)


def bounded(records):
    return FeatureSet(COUNTS.features, COUNTS.entities, remember_us=REMEMBER, records=records)


def busy(count=1500, late=100):
    """A card and a shop far beyond the bound: in order, out of order, late ones, and labels."""
    batch = [transaction(f"t{at}", at / 20, amount=at * 37 % 101 - 50) for at in range(count)]
    batch += [transaction(f"u{at}", 75 - at / 7, 76, amount=at * 13) for at in range(late)]
    batch += [label(f"l{at}", f"t{at}", at / 20 + 1, at % 3 == 0) for at in range(count)]
    batch += [label(f"m{at}", f"t{at}", at / 20 + 2, False, reverses=f"l{at}") for at in range(0, count, 9)]
    return batch + [transaction(f"v{at}", 60 + at / 50) for at in range(200)]


@settings(max_examples=60)
@given(
    times=st.lists(st.integers(0, 90) | st.floats(0, 90), min_size=10, max_size=60),
    in_order=st.booleans(),
    records=st.integers(1, 12),
)
def test_the_true_count_lies_within_the_error_told(make_store, times, in_order, records):
    store = make_store(bounded(records))
    events = [
        transaction(f"t{number}", at, 91) for number, at in enumerate(sorted(times) if in_order else times)
    ]
    seen = []
    for event, answer in zip(events, store.apply(events), strict=True):
        seen.append(event.time_us)
        assert answer.status is Status.FRESH
        for us, told in zip(WINDOWS, answer.vector, strict=True):
            true = sum(event.time_us - us < each <= event.time_us for each in seen)
            assert told * (1 - answer.error) - 1e-9 <= true
            assert answer.error == 1.0 or true <= told / (1 - answer.error) + 1e-9
            assert answer.approximate or told == true


def test_of_a_steady_stream_a_64th_is_uncertain_at_most(make_store):
    answers = make_store(bounded(100)).apply([transaction(f"t{at}", at / 20) for at in range(3000)])
    assert all(answer.approximate for answer in answers[300:])
    assert (
        0 < max(answer.error for answer in answers) <= 1 / 64 + 2 / 200
    )  # two events of the shorter window's


@settings(max_examples=30)
@given(data=st.data(), kinds=st.sampled_from([EVERY, PLAIN]), records=st.integers(1, 8))
def test_it_ends_the_same_whatever_the_order_of_arrival(make_store, data, kinds, records):
    features = feature_set(kinds - {Kind.SINCE_LAST, Kind.GAP}, records=records)
    times = data.draw(st.lists(st.integers(0, 90), min_size=10, max_size=30))
    events = [transaction(f"t{at}", time, 91, amount=17 * at) for at, time in enumerate(times)]
    probes = [transaction(f"p{at}", at, 99) for at in (92, 95, 98)]
    ends = []
    for order in (events, data.draw(st.permutations(events))):
        store = make_store(features)
        store.apply(order)
        ends.append(bits(store.apply(probes)))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("kinds", [EVERY, PLAIN])
def test_a_busy_log_answers_as_the_one_in_memory_whatever_lies_in_a_call(make_redis_store, kinds):
    features = feature_set(kinds, records=40)
    batch = busy()
    expected = bits(InMemoryFeatureStore(features).apply(batch))
    assert max(each[4] for each in expected) > 0
    assert bits(make_redis_store(features).apply(batch)) == expected
    store = make_redis_store(features)
    assert (
        bits([each for at in range(0, len(batch), 7) for each in store.apply(batch[at : at + 7])]) == expected
    )


def test_buckets_are_few_and_leave_the_server_when_no_window_can_reach_them(valkey):
    features = bounded(20)
    store = RedisFeatureStore(valkey.url, features, prefix="folds", hash_key=KEY)
    sizes = []
    with valkey.client() as client:
        for at in range(0, 20_000, 500):
            store.apply([transaction(f"t{each}", each / 10) for each in range(at, at + 500)])
            (key,) = client.scan_iter(match="{folds:*}f*", count=10_000)
            sizes.append(client.strlen(key) // 48)
        assert sizes[-1] < 64 * 6  # for each doubling of the age, 64; a window of 10 s to all of 160
        assert sizes[-1] < 1.1 * max(sizes[4:8])
        store.apply([transaction("later", 2000 + 161)])
        assert not list(client.scan_iter(match="{folds:*}f*", count=10_000))
    store.close()


def test_what_is_told_of_a_second_run_of_the_same_batch_is_what_was_told_first(make_store):
    store, batch = make_store(BOUNDED), [transaction(f"t{at}", at / 20) for at in range(300)]
    first, again = store.apply(batch), store.apply(batch)
    assert [each[2:] for each in bits(first)] == [each[2:] for each in bits(again)]
    assert max(each.error for each in again) > 0


def test_a_late_event_is_counted_in_its_bucket(make_store):
    store = make_store(bounded(5))
    store.apply([transaction(f"t{at}", at) for at in range(50)])
    late, after = store.apply([transaction("late", 20.3, 50), transaction("after", 50)])
    assert late.vector == (11.0, 22.0)
    assert after.vector == (10.0, 52.0)


def test_amounts_beyond_any_float_are_folded_exactly(make_store):
    features = feature_set(records=1)
    amounts = [(1 << 53) + 1, -(1 << 61), 1 << 61, 2, -3]
    answers = make_store(features).apply(
        [transaction(f"t{at}", at, amount=each) for at, each in enumerate(amounts)]
    )
    names = ("card_sum", "card_min", "card_max")
    got = [answers[-1].vector[features.names.index(f"{name}_{10 * SECOND}")] for name in names]
    assert got == [(1 << 53) / 100, -(1 << 61) / 100, (1 << 61) / 100]
