"""What every store keeps of its sources: how far each was applied, and that nothing goes on where something is lost."""

from __future__ import annotations

import copy
import itertools

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from features.redis_cluster import ClusterFeatureStore
from features.redis_store import CALL, RedisFeatureStore
from features.store import InMemoryFeatureStore, Run, Source, Status, StoreBehind, StoreUnavailable
from tests.contract.schedules import bits, feature_set, label, schedules, transaction, unnumbered

KEY = b"a key for digests"
ALL = feature_set()


def payments(first, after):
    return [transaction(f"t{at}", at / 10) for at in range(first, after)]


def source(before, after, topic="transactions", partition=0, offsets=()):
    return Source(topic, partition, before, after, offsets)


class Memory:
    """A store in memory that can be put back to an earlier state."""

    def __init__(self, features):
        self.store = InMemoryFeatureStore(features)

    def state(self):
        return copy.deepcopy(self.store.__dict__)

    def put_back(self, state):
        self.store.__dict__.update(copy.deepcopy(state))

    def restarted(self):
        return self.store


class Redis:
    """A store whose server can be put back to an earlier state, as a crash or a failover does."""

    prefixes = itertools.count()

    def __init__(self, features, server):
        self._features, self._url = features, server.url
        self._prefix = f"fence{next(self.prefixes)}"
        self._client = redis.Redis.from_url(server.url)
        self.store = self._open()

    def _open(self):
        return RedisFeatureStore(self._url, self._features, prefix=self._prefix, hash_key=KEY)

    def state(self):
        keys = self._client.keys(f"{{{self._prefix}:*")
        return {key: self._client.dump(key) for key in keys}

    def put_back(self, state):
        for key in self.state():
            self._client.delete(key)
        for key, value in state.items():
            self._client.restore(key, 0, value)

    def restarted(self):
        self.store.close()
        self.store = self._open()
        return self.store


class OnCluster(Redis):
    """The same of a store on a cluster."""

    def __init__(self, features, cluster):
        self._features, self._url, self._cluster = features, f"{cluster.url}?shards=4", cluster
        self._prefix = f"fence{next(self.prefixes)}"
        self.store = self._open()

    def _open(self):
        return ClusterFeatureStore(self._url, self._features, prefix=self._prefix, hash_key=KEY)

    def state(self):
        return self._cluster.dump(f"{{{self._prefix}:*")

    def put_back(self, state):
        self._cluster.put_back(f"{{{self._prefix}:*", state)


@pytest.fixture(params=["memory", "redis", "cluster"])
def kept(request):
    """A store whose state may be put back."""
    if request.param == "memory":
        return Memory(ALL)
    if request.param == "cluster":
        return OnCluster(ALL, request.getfixturevalue("cluster"))
    return Redis(ALL, request.getfixturevalue("valkey"))


@pytest.fixture
def store(kept):
    return kept.store


def test_a_store_tells_how_far_each_partition_was_applied(store):
    assert store.positions() == {}
    store.apply(payments(0, 70), source(0, 70))
    store.apply(payments(70, 72), source(70, 75))
    store.apply([label("l1", "t1", 8)], source(0, 1, "tenant-labels", 11))
    assert store.positions() == {("transactions", 0): 75, ("tenant-labels", 11): 1}


def test_a_batch_without_a_source_moves_no_position(store):
    store.apply(payments(0, 3))
    assert store.positions() == {}


def test_a_batch_of_nothing_but_dead_letters_moves_the_position(store):
    assert store.apply([], source(0, 4)) == []
    assert store.positions() == {("transactions", 0): 4}
    store.apply(payments(0, 1), source(4, 5))


def test_a_position_never_goes_back(store):
    store.apply(payments(0, 70), source(0, 70))
    again = store.apply(payments(0, 40), source(0, 40))
    assert {answer.status for answer in again} == {Status.DUPLICATE}
    assert store.positions() == {("transactions", 0): 70}


def test_what_comes_again_with_something_new_behind_it_moves_the_position(store):
    store.apply(payments(0, 40), source(0, 40))
    statuses = [answer.status for answer in store.apply(payments(10, 60), source(10, 60))]
    assert statuses == [Status.DUPLICATE] * 30 + [Status.FRESH] * 20
    assert store.positions() == {("transactions", 0): 60}


MUCH_LATER = 10_000
LATE = {Status.LATE, Status.LABEL_LATE}


def test_what_is_read_again_when_its_ids_are_forgotten_counts_no_second_time(store):
    early = [*payments(0, 40), label("l1", "t1", 9)]
    store.apply(early, source(0, 41))
    store.apply([transaction("new", MUCH_LATER)], source(0, 1, partition=1))
    assert {answer.status for answer in store.apply(early, source(0, 41))} == LATE
    (probe,) = store.apply([transaction("probe", 4, 9)], source(41, 42))
    twin = InMemoryFeatureStore(ALL)
    twin.apply([*early, transaction("new", MUCH_LATER)])
    assert unnumbered([probe]) == unnumbered(twin.apply([transaction("probe", 4, 9)]))


def test_what_was_refused_is_not_applied_when_it_is_read_again_and_its_id_is_free(store):
    """It came within the memory of ids, which has ended for the one that had the id."""
    batch = [transaction("t1", 0), transaction("t1", 70, body=b"another0"), transaction("t2", 105)]
    store.apply(batch, source(0, 3, offsets=range(3)))
    (again,) = store.apply(batch[1:2], source(1, 2, offsets=[1]))
    assert again.status in {Status.LATE, Status.CONFLICT}  # a home on a cluster still knows
    twin = InMemoryFeatureStore(ALL)
    twin.apply(batch)
    assert unnumbered(store.apply([transaction("p", 106)])) == unnumbered(twin.apply([transaction("p", 106)]))


def test_a_label_is_not_said_of_another_use_of_its_id_when_it_is_read_again(store):
    batch = [transaction("t1", 0), label("l1", "t1", 70), transaction("t1", 105, body=b"another0")]
    store.apply(batch, source(0, 3, offsets=range(3)))
    store.apply(batch[1:2], source(1, 2, offsets=[1]))
    twin = InMemoryFeatureStore(ALL)
    twin.apply(batch)
    assert unnumbered(store.apply([transaction("p", 106)])) == unnumbered(twin.apply([transaction("p", 106)]))


def test_what_was_never_applied_counts_however_far_its_partition_is_behind(store):
    store.apply([transaction("new", MUCH_LATER)], source(0, 1, partition=1))
    assert {answer.status for answer in store.apply(payments(0, 40), source(0, 40))} == {Status.FRESH}


def test_of_a_batch_that_begins_below_the_place_held_what_lies_behind_it_is_new(store):
    store.apply(payments(0, 40), source(0, 50, offsets=range(10, 50)))
    store.apply([transaction("new", MUCH_LATER)], source(0, 1, partition=1))
    batch = source(20, 60, offsets=range(20, 60))
    statuses = [answer.status for answer in store.apply(payments(10, 50), batch)]
    assert statuses == [Status.LATE] * 30 + [Status.FRESH] * 10


@settings(max_examples=150, deadline=None)
@given(data=st.data(), schedule=schedules(stretches=(1, 40, 2500)), kind=st.sampled_from(["memory", "redis"]))
def test_whatever_is_read_again_whenever_it_counts_once(valkey, data, schedule, kind):
    """Any part up to the place reached, in any company; a store that saw each once holds the same."""
    store, twin = (Memory(ALL) if kind == "memory" else Redis(ALL, valkey)).store, InMemoryFeatureStore(ALL)
    at = 0
    while at < len(schedule):
        before, after = data.draw(st.integers(0, at)), data.draw(st.integers(at + 1, len(schedule)))
        again = store.apply(schedule[before:after], source(before, after, offsets=range(before, after)))
        once = twin.apply(schedule[at:after])
        assert bits(again[at - before :]) == bits(once)
        at = after
    probes = [transaction(f"probe{at}", 30, 99, entities=("a", "x")) for at in range(2)]
    assert bits(store.apply(probes)) == bits(twin.apply(probes))


def test_an_empty_store_refuses_what_follows_something(kept):
    with pytest.raises(StoreBehind, match=r"holds transactions\[0\] up to offset 0 .* follows 5") as caught:
        kept.store.apply(payments(5, 90), source(5, 90))
    assert (caught.value.topic, caught.value.partition, caught.value.stored) == ("transactions", 0, 0)
    assert kept.store.positions() == {}
    (fresh,) = kept.store.apply(payments(5, 6))
    assert (fresh.status, fresh.seq) == (Status.FRESH, 1)


def test_a_store_that_lost_the_last_batch_refuses_the_next_and_is_mended_by_reading_again(kept):
    whole = InMemoryFeatureStore(ALL)
    expected = [unnumbered(whole.apply(payments(first, first + 50))) for first in (0, 50, 100)]
    kept.store.apply(payments(0, 50), source(0, 50))
    earlier = kept.state()
    kept.store.apply(payments(50, 100), source(50, 100))
    kept.put_back(earlier)
    with pytest.raises(StoreBehind):
        kept.store.apply(payments(100, 150), source(100, 150))
    store = kept.restarted()
    assert store.positions() == {("transactions", 0): 50}
    assert unnumbered(store.apply(payments(50, 100), source(50, 100))) == expected[1]
    assert unnumbered(store.apply(payments(100, 150), source(100, 150))) == expected[2]


def test_of_several_runs_the_first_that_follows_something_lost_is_refused(kept):
    runs = [
        Run(payments(0, 3), source(0, 3)),
        Run(payments(3, 5), source(7, 9, partition=1)),
        Run(payments(5, 9), source(3, 7)),
    ]
    with pytest.raises(StoreBehind, match=r"transactions\[1\] up to offset 0 .* follows 7") as caught:
        kept.store.apply_many(runs)
    assert (caught.value.partition, caught.value.stored) == (1, 0)
    assert kept.store.positions().get(("transactions", 1)) is None
    (again,) = kept.store.apply(payments(5, 6))
    assert again.status is Status.FRESH


@settings(max_examples=60, deadline=None)
@given(data=st.data(), schedule=schedules(), kind=st.sampled_from(["memory", "redis"]))
def test_runs_of_several_partitions_at_once_answer_as_one_after_the_other(valkey, data, schedule, kind):
    store = (Memory(ALL) if kind == "memory" else Redis(ALL, valkey)).store
    after, runs, rest = dict.fromkeys(range(3), 0), [], list(schedule)
    while rest:
        partition, items = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 40))
        before = after[partition]
        after[partition] += items + data.draw(st.integers(0, 2))  # and some dead letters
        runs.append(Run(rest[:items], source(before, after[partition], partition=partition)))
        del rest[:items]
    batches = data.draw(st.lists(st.integers(1, len(runs) or 1), max_size=3))
    answers, at = [], 0
    for batch in [*batches, len(runs)]:
        answers += store.apply_many(runs[at : at + batch])
        at += batch
    assert bits(answers) == bits(InMemoryFeatureStore(ALL).apply(schedule))
    assert store.positions() == {
        ("transactions", run.source.partition): after[run.source.partition] for run in runs
    }


@settings(max_examples=100, deadline=None)
@given(data=st.data(), schedule=schedules(), kind=st.sampled_from(["memory", "redis"]))
def test_whatever_is_lost_whenever_every_event_gets_the_answer_of_a_store_that_lost_nothing(
    valkey, data, schedule, kind
):
    """Batches of any length; between any two the store may fall back to any earlier state, or to nothing."""
    kept = Memory(ALL) if kind == "memory" else Redis(ALL, valkey)
    whole = bits(InMemoryFeatureStore(ALL).apply(schedule))
    store, states, answers = kept.store, [kept.state()], {}
    at = before = losses = 0
    while at < len(schedule):
        if losses < 3 and data.draw(st.booleans()):
            losses += 1
            del states[data.draw(st.integers(1, len(states))) :]
            kept.put_back(states[-1])
        after = at + data.draw(st.integers(1, 9))
        try:
            told = store.apply(schedule[at:after], source(before, after))
        except StoreBehind:
            store = kept.restarted()
            at = before = store.positions().get(("transactions", 0), 0)
            continue
        for offset, answer in enumerate(bits(told), at):
            answers.setdefault(offset, answer)
        states.append(kept.state())
        at = before = after
    assert [answers[offset] for offset in range(len(schedule))] == whole


@pytest.fixture
def in_redis(valkey):
    return Redis(ALL, valkey)


def test_a_loss_that_another_partition_does_not_show_is_seen_by_the_number_of_events(in_redis):
    """Labels that came before the loss are held; but their place among the lost payments is not."""
    in_redis.store.apply([label("l1", "t1", 0)], source(0, 1, "labels"))
    earlier = in_redis.state()
    in_redis.store.apply(payments(0, 5), source(0, 5))
    in_redis.put_back(earlier)
    with pytest.raises(StoreBehind):
        in_redis.store.apply([label("l2", "t2", 9)], source(1, 2, "labels"))
    assert in_redis.state() == earlier
    store = in_redis.restarted()
    store.positions()
    store.apply([label("l2", "t2", 9)], source(1, 2, "labels"))


def test_a_worker_that_starts_knows_by_the_positions_how_much_there_was(in_redis):
    in_redis.store.apply(payments(0, 5), source(0, 5))
    store = in_redis.restarted()
    store.positions()
    in_redis.put_back({})
    with pytest.raises(StoreBehind):
        store.apply([label("l1", "t1", 0)], source(0, 1, "labels"))


def test_a_loss_between_two_calls_of_one_round_trip_is_refused_by_the_second(in_redis, monkeypatch):
    """Nobody else's FLUSHALL waits for a batch to end."""
    store, real = in_redis.store, in_redis.store._pipelined

    def lose_after_the_first_call(calls, *more):
        first = list(real(calls[:1], *more))
        in_redis.put_back({})
        return [*first, *real(calls[1:], *more)]

    monkeypatch.setattr(store, "_pipelined", lose_after_the_first_call)
    with pytest.raises(StoreBehind):
        store.apply(payments(0, 3 * CALL), source(0, 3 * CALL))
    assert in_redis.state() == {}


def test_a_call_that_failed_lets_none_of_those_behind_it_go_before_it(in_redis, monkeypatch):
    """Memory may be full for one call and not for the next; what is sent again then comes in its order."""
    store, real = in_redis.store, in_redis.store._pipelined
    batch = payments(0, 3 * CALL)

    def fail_the_second(calls, *more):
        first = list(real(calls[:1], *more))
        return [*first, redis.exceptions.OutOfMemoryError("OOM"), *real(calls[2:], *more)]

    monkeypatch.setattr(store, "_pipelined", fail_the_second)
    with pytest.raises(StoreUnavailable, match="is full"):
        store.apply(batch, source(0, 3 * CALL))
    monkeypatch.setattr(store, "_pipelined", real)
    assert store.positions() == {("transactions", 0): CALL}
    answers = store.apply(batch, source(0, 3 * CALL))
    assert [answer.seq for answer in answers] == list(range(1, 3 * CALL + 1))


def test_where_a_call_ends_within_its_batch_is_never_more_than_it_holds(in_redis):
    """Of these records every second one is a dead letter, so that offsets run ahead of the events."""
    calls = in_redis.store.batch([Run(payments(0, 100), source(1000, 1200))]).calls
    borders = [[each[2:4] for each in call.sources] for call in calls]
    follow = [[(at, at), (at, at + 32)] for at in (1032, 1064)]
    assert borders == [[(1000, 1032)], *follow, [(1096, 1096), (1096, 1200)]]


def test_where_a_call_ends_within_a_batch_that_tells_its_offsets_is_known(in_redis):
    calls = in_redis.store.batch(
        [Run(payments(0, 40), source(1000, 1080, offsets=range(1001, 1081, 2)))]
    ).calls
    pieces = [[(*each[2:4], list(each.offsets)) for each in call.sources] for call in calls]
    assert pieces == [
        [(1000, 1065, list(range(1001, 1065, 2)))],
        [(1065, 1065, []), (1065, 1080, list(range(1065, 1080, 2)))],
    ]


def test_runs_of_many_partitions_share_calls(in_redis):
    runs = [Run(payments(2 * at, 2 * at + 2), source(0, 2, partition=at)) for at in range(40)]
    assert [len(call.items) for call in in_redis.store.batch(runs).calls] == [CALL, CALL, 16]
    assert in_redis.store.batch([Run([])]).calls == []


def test_a_run_that_failed_lets_none_of_those_behind_it_go_before_it(in_redis, monkeypatch):
    """The label was said after the payments; if these must be sent again, it must come after them again."""
    store, real = in_redis.store, in_redis.store._pipelined
    runs = [Run(payments(0, CALL), source(0, CALL)), Run([label("l1", "t1", 9)], source(0, 1, "labels"))]

    def fail_the_first(calls, *more):
        return [redis.exceptions.OutOfMemoryError("OOM"), *real(calls[1:], *more)]

    monkeypatch.setattr(store, "_pipelined", fail_the_first)
    with pytest.raises(StoreUnavailable, match="is full"):
        store.apply_many(runs)
    assert in_redis.state() == {}
