"""What only the store in Redis promises: one round trip, no raw values, safe repetition, plain refusals."""

from __future__ import annotations

import pytest
import redis

from features import packing, redis_patience
from features.catalogue import Feature, FeatureSet, Kind
from features.redis_store import RedisFeatureStore
from features.store import InMemoryFeatureStore, Status, StoreUnavailable
from tests.contract.schedules import (
    EVERY,
    HORIZON,
    PLAIN,
    REMEMBER,
    SECOND,
    bits,
    feature_set,
    label,
    transaction,
)

KEY = b"a key for digests"
ALL = feature_set()
HOUR = 3600


def client_of(server):
    return redis.Redis.from_url(server.url)


def store_at(server, features=ALL, prefix="weir", key=KEY):
    return RedisFeatureStore(server.url, features, prefix=prefix, hash_key=key)


def payments(count, **changes):
    return [transaction(f"t{at}", at / 10, **changes) for at in range(count)]


@pytest.fixture
def server(valkey):
    """The shared server, empty."""
    client_of(valkey).flushall()
    return valkey


def calls(server):
    return client_of(server).info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]


def test_a_batch_is_one_call_for_32_events_and_one_round_trip(server, monkeypatch):
    store = store_at(server)
    trips = []
    monkeypatch.setattr(
        store, "_pipelined", lambda *sent, real=store._pipelined: trips.append(1) or real(*sent)
    )
    before = calls(server)
    assert len(store.apply(payments(130))) == 130
    assert (calls(server) - before, len(trips)) == (5, 1)


def test_no_key_and_no_byte_holds_the_raw_value_of_an_entity(server):
    batch = [*payments(70, entities=("4111111111111111", "corner shop")), label("l1", "t1", 8)]
    store_at(server).apply(batch)
    client = client_of(server)
    found = b"".join(each + client.dump(each) for each in client.scan_iter(count=1000))
    assert b"4111111111111111" not in found
    assert b"corner shop" not in found


def test_another_key_another_prefix_and_another_feature_set_are_other_states(server):
    store_at(server).apply(payments(3))
    others = [
        store_at(server, prefix="other"),
        store_at(server, features=feature_set(records=77)),
    ]
    for other in others:
        (answer,) = other.apply(payments(1))
        assert (answer.status, answer.seq) == (Status.FRESH, 1)


def test_two_processes_share_what_they_know(server):
    first, second = store_at(server), store_at(server)
    first.apply(payments(3))
    (again, fresh) = second.apply([payments(3)[2], transaction("t9", 9)])
    assert (again.status, again.seq) == (Status.DUPLICATE, 3)
    assert fresh.vector[ALL.names.index(f"card_count_{60 * SECOND}")] == 4


def test_a_server_that_forgot_the_script_is_given_it_again(server):
    store = store_at(server)
    client_of(server).script_flush()
    assert [answer.status for answer in store.apply(payments(2))] == [Status.FRESH] * 2


def test_a_connection_lost_after_applying_changes_nothing_when_the_batch_is_sent_again(server, monkeypatch):
    store, reference = store_at(server), InMemoryFeatureStore(ALL)
    real, lost = store._pipelined, []

    def lose_the_first_answer(*sent):
        replies = list(real(*sent))
        if not lost:
            lost.append(1)
            raise redis.ConnectionError("gone")
        return replies

    monkeypatch.setattr(store, "_pipelined", lose_the_first_answer)
    batch = [*payments(70), label("l1", "t1", 8)]
    answers, expected = store.apply(batch), reference.apply(batch)
    assert [each[1:] for each in bits(answers)] == [each[1:] for each in bits(expected)]
    more = [transaction("t99", 9)]
    assert bits(store.apply(more)) == bits(reference.apply(more))


def test_a_server_that_was_killed_and_comes_back_goes_on_where_it_was(valkey_at):
    server = valkey_at("--appendonly", "yes", "--appendfsync", "always")
    store = store_at(server)
    store.apply(payments(100))
    server.kill()
    server.start()
    (fresh,) = store.apply([transaction("t999", 10)])
    assert (fresh.status, fresh.seq) == (Status.FRESH, 101)
    assert fresh.vector[ALL.names.index(f"card_count_{60 * SECOND}")] == 101


def test_a_server_that_stays_away_is_told_as_such_without_its_password(valkey_at, monkeypatch):
    monkeypatch.setattr(redis_patience, "PATIENCE_S", (0.0, 0.0))
    server = valkey_at()
    store = store_at(server)
    server.kill()
    with pytest.raises(StoreUnavailable, match="no answer from the Redis at unix://"):
        store.apply(payments(1))
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1:") as caught:
        RedisFeatureStore("redis://me:secret@127.0.0.1:1", ALL, prefix="weir", hash_key=KEY)
    assert "secret" not in str(caught.value)


def test_a_server_that_evicts_is_refused(valkey_at):
    server = valkey_at("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreUnavailable, match="set maxmemory-policy to noeviction"):
        store_at(server)


def test_a_full_server_is_told_as_such(valkey_at):
    server = valkey_at()
    store = store_at(server)
    client_of(server).config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="is full"):
        store.apply(payments(1))


def test_what_is_forgotten_leaves_the_server(server, monkeypatch):
    monkeypatch.setattr(packing, "SHARDS", 8)
    features = FeatureSet(
        (
            Feature("shops", Kind.DISTINCT, "card", 60 * SECOND, "shop"),
            Feature("risk", Kind.RISK, "shop", 60 * SECOND),
        ),
        ("card", "shop"),
        remember_us=REMEMBER,
        label_horizon_us=HORIZON,
    )
    store, client = store_at(server, features), client_of(server)
    sizes = []
    for day in range(40):
        at = day * 12 * HOUR
        batch = []
        for number in range(20):
            name = f"{day}-{number}"
            batch.append(transaction(name, at + number, entities=(f"card {name}", f"shop {name}")))
            batch.append(label(f"l{name}", name, at + number + 1))
            batch.append(label(f"m{name}", name, at + number + 2, False, reverses=f"l{name}"))
        store.apply(batch)
        sizes.append(client.dbsize())
    assert max(sizes[20:]) < 1.2 * max(sizes[8:20])


def test_values_that_come_once_leave_as_fast_as_new_ones_come(server, monkeypatch):
    monkeypatch.setattr(packing, "SHARDS", 64)
    entities, day, a_day, days = ("card", "shop", "device"), 24 * HOUR, 640, 12
    features = FeatureSet(
        tuple(Feature(f"{each}_count", Kind.COUNT, each, day * SECOND) for each in entities),
        entities,
        remember_us=day * SECOND,
        label_horizon_us=day * SECOND,
    )
    store = store_at(server, features)
    once = [
        transaction(f"t{at}", at * day / a_day, entities=(f"c{at}", f"s{at}", f"d{at}"))
        for at in range(days * a_day)
    ]
    for start in range(0, len(once), 32):
        store.apply(once[start : start + 32])
    logs = len(list(client_of(server).scan_iter("*}t*", count=1000)))
    assert logs <= 5 * a_day * len(entities), (
        "a day in windows, one of lateness, one ahead, and two half ones"
    )


def test_values_that_left_their_windows_leave_the_counts_of_distinct_ones(server):
    features = FeatureSet((Feature("shops", Kind.DISTINCT, "card", SECOND, "shop"),), ("card", "shop"))
    store, client = store_at(server, features), client_of(server)
    for at in range(100):
        store.apply([transaction(f"t{at}", at / 4, entities=("a", f"shop {at}"))])
    (counts,) = client.scan_iter(match="*}d*", count=1000)
    assert client.hlen(counts) == 4


@pytest.mark.parametrize("kind", [Kind.COUNT, Kind.MAX])
def test_records_that_no_window_can_reach_leave_the_log(server, kind):
    features = FeatureSet((Feature("it", kind, "card", 60 * SECOND),), ("card", "shop"), remember_us=SECOND)
    store, client = store_at(server, features), client_of(server)
    for at in range(0, 5000, 50):
        store.apply([transaction(f"t{at}-{each}", at + each) for each in range(50)])
    (log,) = client.scan_iter(match="*}t*", count=10_000)
    assert client.strlen(log) < 20 * 5 * 61


@pytest.mark.parametrize("kinds", [EVERY, PLAIN])
def test_a_log_that_outgrows_what_is_read_ahead_answers_as_the_one_in_memory(server, kinds):
    features = feature_set(kinds)
    store, reference = store_at(server, features), InMemoryFeatureStore(features)
    batch = [transaction(f"t{at}", at / 20, amount=at * 37 % 101 - 50) for at in range(1500)]
    batch += [transaction(f"u{at}", 75 - at / 7, 76, amount=at * 13) for at in range(100)]  # out of order
    batch += [label(f"l{at}", f"t{at}", at / 20 + 1, at % 3 == 0) for at in range(1500)]
    batch += [transaction(f"v{at}", 60 + at / 50) for at in range(200)]
    assert bits(store.apply(batch)) == bits(reference.apply(batch))


def test_a_value_is_forgotten_in_every_feature_set_under_the_prefix_and_in_no_other(server):
    odd = "we[i]r*"
    stores = [store_at(server, prefix=odd), store_at(server, feature_set(records=77), prefix=odd)]
    other, nearly = store_at(server, prefix="weir"), store_at(server, prefix=odd + "x")
    values = [bytes([at]).decode("latin-1") * 3 for at in range(1, 256)]  # digests with every byte in them
    batch = [transaction(f"t{at}", 0, entities=(value, "x")) for at, value in enumerate(values)]
    for store in (*stores, other, nearly):
        store.apply([*batch, label("l1", "t1", 1), label("l2", "t1", 2, False, reverses="l1")])
    before = client_of(server).dbsize()
    assert all(stores[0].forget("card", value) for value in values)
    assert before - client_of(server).dbsize() == 2 * 2 * (2 * len(values) + 2), (
        "in both sets, of all events and of those of one currency: logs, counts, labels, corrections"
    )
    assert not any(stores[1].forget("card", value) for value in values)
    assert other.forget("card", values[0])
    assert nearly.forget("card", values[0])
