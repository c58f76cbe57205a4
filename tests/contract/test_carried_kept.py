"""What becomes of the states of networks when something is in the way: each line here that protects has its case."""

from __future__ import annotations

import math

import pytest
import redis

from features import redis_copy
from features.carried import Carried, Filled, Kept, idle_us
from features.compute import Plan
from features.redis_store import RedisFeatureStore
from features.store import Run, Source, Status, StoreBehind, StoreUnavailable
from tests.contract.carrying import NETWORK
from tests.contract.schedules import SECOND, transaction
from tests.contract.test_carried import FEW

KEY = b"a key for digests"
IDLE_S = idle_us(Plan(FEW), "card") / SECOND
OTHER = "ff"


def payment(number, at=None, value="a"):
    return transaction(f"t{number}", number if at is None else at, entities=(value, "x"))


def stepped(store, *events, state=None):
    """Apply events of one value, one after the other, and write each back; the last one's answer."""
    for event in events:
        (applied,) = store.apply([event])
        made = state or b"after " + event.event_id.encode()
        store.keep(
            [Kept("a", applied.carried.mark, applied.number, made, [(event.event_id, applied.number / 8)])]
        )
        store.flush()
    return applied


@pytest.fixture
def store(make_store):
    made = make_store(FEW)
    made.carry("card", NETWORK)
    return made


def told(store, event):
    (applied,) = store.apply([event])
    return applied


def test_where_nothing_is_carried_nothing_is_told(make_store):
    applied = told(make_store(FEW), payment(1))
    assert (applied.carried, applied.number) == (None, 0)
    assert math.isnan(applied.told)


def test_an_event_that_comes_again_is_told_the_first_answer_and_a_state_that_has_seen_it(store):
    first = stepped(store, payment(1))
    again = told(store, payment(1))
    assert (again.status, again.number, again.told) == (Status.DUPLICATE, first.number, first.number / 8)
    assert again.carried == Carried(first.number, b"after t1")


def test_an_event_whose_worker_died_has_not_been_seen(store):
    stepped(store, payment(1))
    lost = told(store, payment(2))
    again = told(store, payment(2))
    assert again.number == lost.number > again.carried.mark
    assert again.carried.state == b"after t1"
    assert math.isnan(again.told)


def test_a_state_that_does_not_go_on_from_what_is_stored_is_refused(store):
    first = stepped(store, payment(1))
    second = stepped(store, payment(2))
    for before, after in (
        (first.carried.mark, first.number),
        (first.number, second.number),
        (second.number, second.number),
    ):
        store.keep([Kept("a", before, after, b"a zombie's", [("t1", 0.5)])])
    store.flush()
    assert store.refused == 3
    assert store.states(NETWORK, ["a"]) == [b"after t2"]
    assert told(store, payment(1)).told == first.number / 8


def test_a_way_that_leads_through_the_stored_mark_goes_on(store):
    """A worker that was thought dead wrote back the first half of what another has in one batch."""
    answers = store.apply([payment(1), payment(2)])
    before, first, second = answers[0].carried.mark, answers[0].number, answers[1].number
    store.keep([Kept("a", before, first, b"one", [("t1", 0.1)])])
    store.keep([Kept("a", before, second, b"two", [("t1", 0.1), ("t2", 0.2)])])
    store.flush()
    assert (store.refused, store.states(NETWORK, ["a"])) == (0, [b"two"])
    third = told(store, payment(3))
    store.keep([Kept("a", first, third.number, b"without the second", [("t3", 0.3)])])
    store.flush()
    assert (store.refused, store.states(NETWORK, ["a"])) == (1, [b"two"])


def test_a_state_of_an_event_that_has_another_number_by_now_is_refused(store):
    """As where a store lost writes and was given them again in another order."""
    applied = told(store, payment(1))
    store.keep([Kept("a", applied.carried.mark, applied.number, b"of another", [("t9", 0.5)])])
    store.flush()
    assert (store.refused, store.states(NETWORK, ["a"])) == (1, [b""])


def test_a_state_of_an_event_that_the_store_does_not_hold_is_refused(store):
    """As where a store lost writes: what follows them comes again, and gets other numbers."""
    applied = told(store, payment(1))
    store.keep(
        [Kept("a", applied.carried.mark, applied.number + 5, b"of what is lost", [("t1", 0.1), ("t9", 0.5)])]
    )
    store.flush()
    assert (store.refused, store.states(NETWORK, ["a"])) == (1, [b""])


def payments(*numbers):
    return [payment(number) for number in numbers]


def test_a_store_tells_up_to_where_a_network_has_seen_the_log(store):
    assert store.written(NETWORK) == {}
    store.apply(payments(0, 1), Source("transactions", 0, 0, 2))
    store.keep([], [Source("transactions", 0, 0, 2), Source("labels", 3, 0, 9)])
    assert store.written(NETWORK) == {}
    store.flush()
    assert store.written(NETWORK) == {("transactions", 0): 2, ("labels", 3): 9}
    store.keep([], [Source("transactions", 0, 0, 1)])
    store.flush()
    assert store.written(NETWORK)["transactions", 0] == 2
    store.adopt(OTHER)
    assert store.written(OTHER) == store.positions() == {("transactions", 0): 2}
    store.drop_states(OTHER)
    assert store.written(OTHER) == {}


def test_states_that_follow_something_lost_are_noticed_though_nothing_that_was_applied_is_lost(store):
    store.apply(payments(0, 1, 2), Source("transactions", 0, 0, 3))
    store.keep([], [Source("transactions", 0, 0, 1)])
    store.keep([], [Source("transactions", 0, 2, 3)])  # what was written back between is lost
    with pytest.raises(StoreBehind) as caught:
        store.apply(payments(3), Source("transactions", 0, 3, 4))
    assert (caught.value.topic, caught.value.partition, caught.value.stored) == ("transactions", 0, 1)
    assert store.written(NETWORK) == {("transactions", 0): 1}


def test_late_events_carry_and_change_nothing(store):
    stepped(store, payment(1, 500))
    late = told(store, transaction("late", 1, 501, entities=("a", "x")))
    assert (late.status, late.number, late.carried.state) == (Status.LATE, 0, b"after t1")
    assert told(store, payment(3, 502)).carried == Carried(late.carried.mark, b"after t1")


def test_what_is_forgotten_begins_anew_and_what_was_on_its_way_is_not_written(store):
    first = told(store, payment(1))
    assert store.forget("card", "a")
    store.keep([Kept("a", first.carried.mark, first.number, b"of somebody", [("t1", 0.5)])])
    store.flush()
    assert (store.refused, store.states(NETWORK, ["a"])) == (1, [b""])
    assert not store.forget("card", "a")
    anew = told(store, payment(2))
    assert anew.carried == Carried(anew.number - 1, b"")


def test_an_event_that_was_answered_is_not_stepped_again_after_its_value_was_forgotten(store):
    first = stepped(store, payment(1))
    store.forget("card", "a")
    again = told(store, payment(1))
    assert (again.carried, again.told) == (Carried(first.number, b""), first.number / 8)
    assert store.states(NETWORK, ["a"]) == [b""]


def test_a_state_is_forgotten_with_its_value_by_the_clock_of_the_store(store):
    first = stepped(store, payment(1, 0))
    told(store, payment(2, IDLE_S, value="b"))
    assert store.states(NETWORK, ["a"]) == [b"after t1"]
    told(store, payment(3, IDLE_S + 1, value="b"))
    assert store.states(NETWORK, ["a"]) == [b""]
    anew = told(store, payment(4, IDLE_S + 2))
    assert anew.carried == Carried(anew.number - 1, b"")
    store.keep([Kept("a", first.carried.mark, first.number, b"of the life before", [("t1", 0.5)])])
    store.flush()
    assert store.states(NETWORK, ["a"]) == [b""]


def test_a_life_that_begins_within_a_batch_does_not_go_on_with_the_one_before(store):
    one, _, two = store.apply([payment(1, 0), payment(2, IDLE_S + 1, value="b"), payment(3, IDLE_S + 2)])
    assert two.carried.mark >= one.number
    assert two.carried.state == b""
    store.keep([Kept("a", one.carried.mark, one.number, b"before", [("t1", 0.5)])])
    store.keep([Kept("a", two.carried.mark, two.number, b"after", [("t3", 0.5)])])
    store.flush()
    assert store.states(NETWORK, ["a"]) == [b"after"]


def test_networks_have_states_and_answers_of_their_own(store):
    stepped(store, payment(1))
    store.carry("card", OTHER)
    again = told(store, payment(1))
    assert again.carried.state == b""
    assert math.isnan(again.told)
    store.keep([Kept("a", again.carried.mark, again.number, b"other", [("t1", 0.75)])])
    store.carry("card", NETWORK)
    assert told(store, payment(1)).told != 0.75
    store.carry("card", OTHER)
    assert told(store, payment(1)).told == 0.75


def test_an_answer_of_nothing_is_an_answer(store):
    applied = told(store, payment(1))
    store.keep([Kept("a", applied.carried.mark, applied.number, b"s", [("t1", 0.0)])])
    assert told(store, payment(1)).told == 0.0


def test_a_network_that_is_adopted_has_seen_what_came_before(store):
    stepped(store, payment(1))
    newest = told(store, payment(2))
    store.fill(OTHER, {"a": b"filled"}, {"decisions/0": 7})
    assert store.filled(OTHER) == {"decisions/0": 7}
    assert not store.adopted(OTHER)
    store.adopt(OTHER)
    assert store.adopted(OTHER)
    store.carry("card", OTHER)
    seen = told(store, payment(2))
    assert seen.carried == Carried(newest.number, b"filled")
    assert seen.number <= seen.carried.mark
    third = stepped(store, payment(3))
    assert third.carried == seen.carried
    with pytest.raises(Filled):
        store.fill(OTHER, {"a": b"too late"}, {"decisions/0": 8})
    assert store.states(OTHER, ["a"]) == [b"after t3"]


def test_states_of_a_network_that_is_dropped_are_gone_and_others_stay(store):
    stepped(store, payment(1))
    store.fill(OTHER, {f"v{at}": b"filled" for at in range(700)}, {"decisions/0": 7})
    store.drop_states(OTHER)
    assert store.filled(OTHER) is None
    assert set(store.states(OTHER, [f"v{at}" for at in range(700)])) == {b""}
    assert store.states(NETWORK, ["a"]) == [b"after t1"]


def test_nobody_fills_a_store_to_which_nothing_was_applied(store):
    with pytest.raises(ValueError, match="nothing was applied"):
        store.fill(OTHER, {"a": b"s"}, {})


@pytest.mark.parametrize("bad", ["", "XY", "0" * 33, "g"])
def test_an_id_that_is_none_is_refused(store, bad):
    with pytest.raises(ValueError, match="no id of a network"):
        store.carry("card", bad)


# --- in Redis alone


@pytest.fixture(params=["redis", pytest.param("cluster", marks=pytest.mark.slow)])
def shared(request):
    made = request.getfixturevalue(f"make_{request.param}_store")(FEW)
    made.carry("card", NETWORK)
    return made


MANY = {f"v{at}": b"%d" % at for at in range(1_000)}
LATER = {f"v{at}": b"later %d" % at for at in range(0, 1_000, 2)}


class Killed(BaseException):
    """As kill -9."""


@pytest.mark.parametrize("step", range(12))
def test_a_filler_that_is_killed_at_any_step_leaves_states_of_one_position(shared, monkeypatch, step):
    told(shared, payment(1))
    shared.fill(OTHER, MANY, {"at": 1})
    real, steps = type(shared)._told, []

    def killed(self, asked):
        steps.append(asked)
        if len(steps) > step:
            raise Killed
        return real(self, asked)

    with monkeypatch.context() as patched:
        patched.setattr(type(shared), "_told", killed)
        try:
            shared.fill(OTHER, LATER, {"at": 2})
        except Killed:
            shared._filling.clear()  # another process goes on
    at = shared.filled(OTHER)["at"]
    expected = MANY if at == 1 else MANY | LATER
    assert shared.states(OTHER, list(MANY)) == list(expected.values())
    shared.fill(OTHER, LATER, {"at": 2})
    assert shared.states(OTHER, list(MANY)) == list((MANY | LATER).values())


def test_a_filler_that_was_replaced_writes_nothing_more(shared):
    told(shared, payment(1))
    shared.fill(OTHER, {"a": b"one"}, {"at": 1})
    old = dict(shared._filling)
    shared._filling.clear()
    shared.fill(OTHER, {"a": b"two"}, {"at": 2})
    shared._filling = old
    with pytest.raises(Filled):
        shared.fill(OTHER, {"a": b"a zombie's"}, {"at": 9})
    assert (shared.filled(OTHER), shared.states(OTHER, ["a"])) == ({"at": 2}, [b"two"])


def test_what_waits_is_not_lost_with_a_connection(shared, monkeypatch):
    applied = told(shared, payment(1))
    shared.keep([Kept("a", applied.carried.mark, applied.number, b"kept", [("t1", 0.5)])])
    with monkeypatch.context() as patched:
        patched.setattr(shared, "_patiently", lambda ask: (_ for _ in ()).throw(StoreUnavailable("gone")))
        with pytest.raises(StoreUnavailable):
            shared.flush()
        with pytest.raises(StoreUnavailable):
            shared.apply([payment(2)])
    assert told(shared, payment(1)).told == 0.5
    assert shared.states(NETWORK, ["a"]) == [b"kept"]


def test_what_is_written_back_goes_with_the_next_batch_in_one_round_trip(make_redis_store, monkeypatch):
    store, trips = make_redis_store(FEW), []
    store.carry("card", NETWORK)
    first = told(store, payment(1))
    store.keep([Kept("a", first.carried.mark, first.number, b"kept", [("t1", 0.5)])])
    real = store._patiently
    monkeypatch.setattr(store, "_patiently", lambda ask: trips.append(1) or real(ask))
    assert told(store, payment(2)).carried == Carried(first.number, b"kept")
    assert len(trips) == 1


def test_what_is_forgotten_is_freed(make_redis_store, valkey):
    store = make_redis_store(FEW)
    store.carry("card", NETWORK)
    stepped(store, payment(1, 0))
    for number in range(40):
        told(store, payment(number + 2, (number + 1) * IDLE_S / 4, value="b"))
    with redis.Redis.from_url(valkey.url) as client:
        mine = [key.partition(b"}")[2] for key in client.scan_iter(b"{" + store._prefix.encode() + b":*")]
    assert [key for key in mine if key[:1] == b"a"] == []
    assert len([key for key in mine if key[:1] == b"h"]) == 1, "that of b alone"


def test_a_copy_of_a_store_has_what_its_networks_carry(make_redis_store, valkey, valkey_at):
    store = make_redis_store(FEW)
    store.carry("card", NETWORK)
    stepped(store, payment(1))
    store.fill(OTHER, {"a": b"filled"}, {"at": 3})
    prefix = redis_copy.prefix_of(store._prefix)
    copied = [entry for some in redis_copy.entries(valkey.url, prefix) for entry in some]
    marks = redis_copy.marks(valkey.url, prefix)
    store.fill(OTHER, {"a": b"more"}, {"at": 4})
    assert redis_copy.marks(valkey.url, prefix) != marks, "a copy key by key would be of two positions"
    fresh = valkey_at().url
    redis_copy.fill(fresh, [copied])
    again = RedisFeatureStore(fresh, FEW, prefix=store._prefix, hash_key=KEY)
    again.carry("card", NETWORK)
    assert (again.states(NETWORK, ["a"]), again.states(OTHER, ["a"])) == ([b"after t1"], [b"filled"])
    assert again.filled(OTHER) == {"at": 3}
    assert told(again, payment(1)).told == told(store, payment(1)).told


def test_a_batch_tells_of_the_network_that_was_carried_when_it_was_made(store):
    stepped(store, payment(1))
    batch = store.batch([Run([payment(1)])])
    store.carry("card", None)
    batch.apply()
    assert batch.answers()[0].carried.state == b"after t1"
    assert told(store, payment(1)).carried is None
