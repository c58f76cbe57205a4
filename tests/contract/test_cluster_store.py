"""What only the store on a cluster must do: complete what half of its nodes did, and go on while nodes and slots come and go."""

from __future__ import annotations

import itertools

import pytest
import redis
from redis.crc import key_slot

from features import redis_patience
from features.redis_cluster import CANARY, ClusterFeatureStore, shard_keys
from features.redis_store import CALL
from features.store import InMemoryFeatureStore, Run, Source, Status, StoreBehind, StoreUnavailable
from tests.contract.cluster import PROBES, Died, dying, node_port, payments, said
from tests.contract.schedules import feature_set, label, transaction, unnumbered

ALL, KEY = feature_set(), b"a key for digests"
PREFIXES = (f"cluster{number}" for number in itertools.count())


@pytest.fixture
def open_store(cluster):
    """Opens stores of one prefix."""
    prefix, opened = next(PREFIXES), []

    def make(features=ALL, url=f"{cluster.url}?shards=8", prefix=prefix):
        opened.append(ClusterFeatureStore(url, features, prefix=prefix, hash_key=KEY))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(redis_patience, "PATIENCE_S", (0.0, 0.0))


def test_homes_and_shards_lie_in_slots_of_their_own_spread_over_all_nodes():
    homes, shards = shard_keys("weir:", ALL, 16)
    slots = [key_slot(key) for key in (*homes, *shards)]
    assert sorted(slot * 32 // 16384 for slot in slots) == list(range(32))
    nodes = [[key_slot(key) * 3 // 16384 for key in some] for some in (homes, shards)]
    assert all(some.count(node) in (5, 6) for some in nodes for node in range(3))
    assert all(key_slot(key + CANARY) == key_slot(key) == key_slot(key + b"p") for key in homes)


def test_a_batch_is_two_round_trips_and_in_each_one_call_to_every_slot(store, monkeypatch):
    trips, real = [], store._nodes.trip
    monkeypatch.setattr(store._nodes, "trip", lambda asked: trips.append(asked) or real(asked))
    store.apply(payments(0, 40), Source("transactions", 0, 0, 40))
    assert [[len(calls) for _, calls in asked] for asked in trips] == [[1] * 8] * 2
    assert len({key_slot(base) for asked in trips for base, _ in asked}) == 16


def test_batches_in_line_are_one_round_trip_each_and_answer_as_ever(store, monkeypatch):
    """The ids of the next are claimed with the entities of the one before."""
    trips, real, whole = [], store._nodes.trip, InMemoryFeatureStore(ALL)
    monkeypatch.setattr(store._nodes, "trip", lambda asked: trips.append(len(asked)) or real(asked))
    batches = [[*payments(at, at + 30), *said(at - 15, at + 15)] for at in range(0, 150, 30)]
    runs = [[Run(batch, Source("t", 0, 60 * at, 60 * at + 60))] for at, batch in enumerate(batches)]
    forgotten = store.batch([Run(payments(900, 901))])  # nobody applies it, nobody waits for it
    del forgotten
    waiting = [store.batch(each) for each in runs[:4]]
    for batch, asked in zip(waiting, batches[:4], strict=True):
        batch.apply()
        assert unnumbered(batch.answers()) == unnumbered(whole.apply(asked))
    assert trips == [8, 16, 16, 16, 8]
    assert unnumbered(store.apply_many(runs[4])) == unnumbered(whole.apply(batches[4]))


def test_a_batch_that_was_claimed_ahead_and_never_came_is_applied_by_whoever_gets_it_next(open_store):
    first, second, whole = open_store(), open_store(), InMemoryFeatureStore(ALL)
    early, batches = said(0, 30), [payments(40, 60), payments(0, 30)]
    first.apply(early)
    waiting = [
        first.batch([Run(batch, Source("t", 0, at, at + 30))])
        for at, batch in zip((0, 30), batches, strict=True)
    ]
    waiting[0].apply()
    second.apply(batches[1], Source("t", 0, 30, 60))
    for batch in (early, *batches):
        whole.apply(batch)
    assert unnumbered(second.apply(PROBES)) == unnumbered(whole.apply(PROBES))


def test_ids_that_could_not_be_claimed_ahead_are_claimed_when_their_batch_comes(store, monkeypatch):
    whole, real = InMemoryFeatureStore(ALL), store._nodes.trip
    batches = [payments(0, 30), payments(30, 60)]
    waiting = [store.batch([Run(batch)]) for batch in batches]

    def full(asked):
        told = real(asked)
        return [*told[:8], *[[redis.exceptions.OutOfMemoryError("OOM")] for _ in told[8:]]]

    monkeypatch.setattr(store._nodes, "trip", full)
    waiting[0].apply()
    monkeypatch.setattr(store._nodes, "trip", real)
    waiting[1].apply()
    answers = [each for batch in waiting for each in batch.answers()]
    assert unnumbered(answers) == unnumbered(whole.apply([*batches[0], *batches[1]]))


def test_no_call_has_more_items_than_a_call_may(store, monkeypatch):
    calls, real = [], store._commands
    monkeypatch.setattr(
        store, "_commands", lambda group, at, some: calls.extend(some) or real(group, at, some)
    )
    store.apply(payments(0, 900))
    assert len(calls) > 900 / CALL
    assert max(len(call.items) for call in calls) == CALL


@pytest.mark.parametrize("trip", [0, 1])
@pytest.mark.parametrize("done", [set(), {0, 3, 5}, {1, 2, 4, 6, 7}, set(range(8))])
def test_what_a_worker_left_half_done_is_completed_by_the_next(open_store, monkeypatch, trip, done):
    whole = InMemoryFeatureStore(ALL)
    batch = [*payments(0, 60), *said(0, 60)]
    first = open_store()
    dying(first, monkeypatch, trip, done)
    with pytest.raises(Died):
        first.apply(batch, Source("transactions", 0, 0, 120))
    second = open_store()
    wholly = trip == 1 and len(done) == 8
    assert second.positions() == ({("transactions", 0): 120} if wholly else {})
    again, once = (
        second.apply(batch, Source("transactions", 0, 0, 120)),
        whole.apply(batch),
    )
    assert [each[1:] for each in unnumbered(again)] == [each[1:] for each in unnumbered(once)]
    assert unnumbered(second.apply(PROBES)) == unnumbered(whole.apply(PROBES))


@pytest.mark.parametrize("done", [set(), {0, 1, 2, 3}, {4, 5, 6, 7}])
def test_a_label_that_came_first_follows_its_event_though_a_worker_died_between(
    open_store, monkeypatch, done
):
    """Its own partition is done with it long before: nobody sends it again."""
    whole, first = InMemoryFeatureStore(ALL), open_store()
    early, batch = said(0, 30), payments(0, 30)
    assert {each.status for each in first.apply(early, Source("labels", 0, 0, 30))} == {Status.LABEL_PENDING}
    dying(first, monkeypatch, 1, done)
    with pytest.raises(Died):
        first.apply(batch, Source("transactions", 0, 0, 30))
    second = open_store()
    second.apply(batch, Source("transactions", 0, 0, 30))
    whole.apply([*early, *batch])
    assert unnumbered(second.apply(PROBES)) == unnumbered(whole.apply(PROBES))
    again = second.apply(early)
    assert {each.status for each in again} == {Status.LABEL_DUPLICATE}


@pytest.mark.parametrize("done", [set(), {0, 2, 4, 6}, {1, 3, 5, 7}])
def test_a_label_of_an_event_that_is_half_applied_counts_once(open_store, monkeypatch, done):
    whole, first, second = InMemoryFeatureStore(ALL), open_store(), open_store()
    batch, verdicts = payments(0, 30), said(0, 30)
    dying(first, monkeypatch, 1, done)
    with pytest.raises(Died):
        first.apply(batch, Source("transactions", 0, 0, 30))
    for _ in range(2):
        second.apply(verdicts, Source("labels", 0, 0, 30))
    second.apply(batch, Source("transactions", 0, 0, 30))
    whole.apply([*batch, *verdicts])
    assert unnumbered(second.apply(PROBES)) == unnumbered(whole.apply(PROBES))


def test_the_same_id_for_another_content_is_refused_whichever_entities_it_names(store):
    batch = payments(0, 40)
    store.apply(batch)
    others = [
        transaction(each.event_id, 5, body=b"another0", entities=(f"card {at} b", f"shop {at} b"))
        for at, each in enumerate(batch)
    ]
    answers = store.apply(others)
    assert {(each.status, each.vector) for each in answers} == {(Status.CONFLICT, ())}
    probes = [
        transaction(f"p{at}", 6, entities=(f"card {at} b", f"shop {at} b")) for at in range(len(others))
    ]
    assert unnumbered(store.apply(probes)) == unnumbered(InMemoryFeatureStore(ALL).apply(probes))


def test_every_shard_forgets_by_the_clock_of_all(open_store):
    """A card that nothing came of for long is as new, though nothing else lives where it does."""
    store, whole = open_store(), InMemoryFeatureStore(ALL)
    days = [transaction(f"d{day}", day * 86_400, entities=("", f"shop {day}")) for day in range(3)]
    for batch in (payments(0, 13), days, payments(0, 13), [label("l1", "t1", 4)], payments(13, 30)):
        assert unnumbered(store.apply(batch)) == unnumbered(whole.apply(batch))


def test_a_node_that_was_emptied_is_seen_and_made_whole_again(cluster, open_store):
    whole, store = InMemoryFeatureStore(ALL), open_store()
    batch = [*payments(0, 60), *said(0, 60)]
    store.apply(batch, Source("transactions", 0, 0, 120))
    cluster.nodes[1].ask("FLUSHALL")
    with pytest.raises(StoreBehind, match=r"holds transactions\[0\] up to offset 0"):
        store.apply(payments(60, 61), Source("transactions", 0, 120, 121))
    again = open_store()
    assert again.positions() == {}
    again.apply(batch, Source("transactions", 0, 0, 120))
    whole.apply(batch)
    whole.apply(payments(60, 61))
    again.apply(payments(60, 61), Source("transactions", 0, 120, 121))
    assert again.positions() == {("transactions", 0): 121}
    assert unnumbered(again.apply(PROBES)) == unnumbered(whole.apply(PROBES))


def test_what_one_node_lost_is_read_again_from_where_it_stands(cluster, open_store):
    whole, store = InMemoryFeatureStore(ALL), open_store()
    batches = [payments(0, 40), said(0, 40), payments(40, 80)]
    store.apply(batches[0], Source("transactions", 0, 0, 40))
    earlier = cluster.dump("{cluster*")
    store.apply(batches[1], Source("transactions", 0, 40, 80))
    cluster.put_back("{cluster*", earlier, [2])
    with pytest.raises(StoreBehind, match=r"holds transactions\[0\] up to offset 40"):
        store.apply(batches[2], Source("transactions", 0, 80, 120))
    again = open_store()
    assert again.positions() == {("transactions", 0): 40}
    again.apply(batches[1], Source("transactions", 0, 40, 80))
    again.apply(batches[2], Source("transactions", 0, 80, 120))
    for batch in batches:
        whole.apply(batch)
    assert unnumbered(again.apply(PROBES)) == unnumbered(whole.apply(PROBES))


def test_a_label_that_no_shard_is_given_is_heard_of_by_the_clocks_of_all(open_store):
    """What is touched behind it is touched then, and not at an earlier event's arrival."""
    store, whole = open_store(), InMemoryFeatureStore(ALL)
    batches = [
        [label("l1", "nobody", 105_000)],
        payments(0, 13),
        [transaction("u", 1, 190_000, entities=("card 1", ""))],
    ]
    for batch in batches:
        assert unnumbered(store.apply(batch)) == unnumbered(whole.apply(batch))


def test_nodes_that_forgot_the_script_are_given_it_again(cluster, store):
    cluster.nodes[2].ask("SCRIPT", "FLUSH")
    assert {each.status for each in store.apply(payments(0, 20))} == {Status.FRESH}


def test_another_number_of_shards_is_refused(cluster, open_store):
    open_store()
    with pytest.raises(StoreUnavailable, match=r"lie in 8 shards, not in 16, .* say \?shards=8"):
        open_store(url=cluster.url)
    for wrong in ("3", "1", "512", "many"):
        with pytest.raises(StoreUnavailable, match="must be a power of two, 2 to 256"):
            open_store(url=f"{cluster.url}?shards={wrong}")


def test_a_server_that_is_no_cluster_is_refused(valkey_at, open_store):
    server = valkey_at("--bind", "127.0.0.1")
    server.client().config_set("port", port := node_port())
    with pytest.raises(StoreUnavailable, match="is no cluster: say redis://"):
        open_store(url=f"redis+cluster://127.0.0.1:{port}")


def test_a_cluster_that_does_not_answer_is_told_without_its_password(impatient, open_store):
    with pytest.raises(
        StoreUnavailable, match=r"Cluster at redis\+cluster://127.0.0.1:1 is not whole"
    ) as told:
        open_store(url="redis+cluster://me:secret@127.0.0.1:1")
    assert "secret" not in str(told.value)


def test_a_value_is_forgotten_wherever_it_lives_and_no_other(open_store):
    store, other = open_store(), open_store(prefix=next(PREFIXES))
    store.apply([*payments(0, 60), *said(0, 60)])
    other.apply(payments(0, 60))
    assert [store.forget("card", f"card {at}") for at in range(13)] == [True] * 13
    assert not store.forget("card", "card 1")
    assert other.forget("card", "card 1")
    name = f"card_count_{60 * 1_000_000}"
    counts = [each.vector[ALL.names.index(name)] for each in store.apply(PROBES[:13])]
    assert counts == [1.0] * 13


def test_no_key_and_no_byte_holds_the_raw_value_of_an_entity(cluster, store):
    store.apply([transaction("t1", 1, entities=("4111111111111111", "corner shop")), label("l1", "t1", 2)])
    found = cluster.dump("*")
    text = b"".join(key + value for (_, key), value in found.items())
    assert b"4111111111111111" not in text
    assert b"corner shop" not in text
    assert found
