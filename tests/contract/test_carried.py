"""What networks carry: every event changes a state once, whoever dies and whatever comes twice, the same in every store."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from features.carried import Filled, Kept, idle_us
from features.catalogue import Kind
from features.compute import Plan
from features.redis_cluster import ClusterFeatureStore
from features.store import InMemoryFeatureStore
from tests.contract.carrying import NETWORK, Worker, first, of_one_use, told_again, without_faults
from tests.contract.schedules import bits, feature_set, schedules

FEW = feature_set(frozenset({Kind.COUNT, Kind.RISK}))
VALUES = ("a", "b")
IDLE = idle_us(Plan(FEW), "card")

ACTIONS = st.lists(
    st.tuples(st.just("apply"), st.integers(1, 5))
    | st.tuples(
        st.sampled_from(["answer", "settle", "kill", "kill", "again", "zombie", "forget"]), st.integers(0, 9)
    ),
    max_size=30,
)


class World:
    """One log, one store; a worker, and those that were thought dead."""

    def __init__(self, store, log):
        self.store, self.log = store, log
        self.worker, self.zombies, self.done = Worker(store, log, 0), [], []
        self.forgets, self.furthest = [], 0

    def act(self, action, number):
        getattr(self, action)(number)
        self.furthest = max(self.furthest, *(each.at for each in (self.worker, *self.zombies, *self.done)))

    def apply(self, count):
        self.worker.apply(count)

    def answer(self, _):
        self.worker.answer()

    def settle(self, _):
        self.worker.settle()

    def kill(self, number):
        """Another goes on from what was written back; this one may still be there, or not."""
        if not told_again(self.log, self.worker.done, self.furthest):
            self.worker.settle()  # what comes again so late is late
        old, self.worker = self.worker, Worker(self.store, self.log, self.worker.done)
        self.done.append(old)
        if number % 2:
            self.zombies.append(old)

    def again(self, number):
        """Somebody reads from the beginning, of what is not too old to be told again."""
        if told_again(self.log, 0, self.furthest):
            self.done.append(Worker(self.store, self.log, 0))
            self.done[-1].apply(number + 1)
            self.done[-1].settle()

    def zombie(self, number):
        if self.zombies:
            zombie = self.zombies[number % len(self.zombies)]
            if number > 6:
                zombie.apply(2)
            elif number > 3:
                zombie.answer()
            else:
                zombie.settle()

    def forget(self, number):
        self.worker.settle()
        if self.worker.at == self.furthest:
            value = VALUES[number % len(VALUES)]
            self.store.forget("card", value)
            self.forgets.append((self.worker.at, value))

    def finish(self):
        """Read to the end; give all answers that count, the first first."""
        while self.worker.at < len(self.log):
            self.worker.apply(3)
            self.worker.answer()
        self.worker.settle()
        workers = [*self.done, self.worker]
        return [each for worker in workers for each in worker.answers]


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_whoever_dies_answers_and_states_are_those_of_a_day_without_faults(make_store, data):
    log = of_one_use(data.draw(schedules()))
    store = make_store(FEW)
    world = World(store, log)
    for action in data.draw(ACTIONS):
        world.act(*action)
    said = world.finish()
    answers, states = without_faults(InMemoryFeatureStore(FEW), log, world.forgets, IDLE)
    assert first(said) == {event_id: each[0] for event_id, each in answers.items()}
    assert all(math.isnan(answer) or answer in answers[event_id] for event_id, answer in said)
    assert store.states(NETWORK, VALUES) == [states.get(value, b"") for value in VALUES]


PLACES = st.integers(0, 3)
STATES = st.binary(max_size=40)
STEPS = st.lists(
    st.tuples(st.just("apply"), st.integers(1, 6))
    | st.tuples(
        st.just("keep"),
        st.sampled_from(VALUES),
        PLACES,
        PLACES,
        STATES,
        st.lists(st.integers(0, 9), max_size=3),
    )
    | st.tuples(st.just("carry"), st.sampled_from([NETWORK, NETWORK, "ff", None]))
    | st.tuples(st.just("fill"), st.dictionaries(st.sampled_from([*VALUES, "c"]), STATES), st.integers(0, 9))
    | st.tuples(st.sampled_from(["flush", "adopt", "drop", "states"]))
    | st.tuples(st.just("forget"), st.sampled_from(VALUES)),
    max_size=40,
)


class Both:
    """Does the same in a store and in the one in memory, with the numbers that each of them gave."""

    def __init__(self, store, log):
        self.stores, self.log, self.at = (store, InMemoryFeatureStore(FEW)), log, 0
        self.numbers = [{value: [0] for value in VALUES} for _ in self.stores]
        self.marks = [{value: [0] for value in VALUES} for _ in self.stores]
        self.do(lambda store: store.carry("card", NETWORK))

    def do(self, act):
        """What both say of it must be the same."""
        said = [_said(act, store) for store in self.stores]
        assert said[0] == said[1]

    def apply(self, count):
        events = self.log[self.at : self.at + count]
        self.at += count
        told = [store.apply(events) for store in self.stores]
        assert bits(told[0]) == bits(told[1]) or isinstance(self.stores[0], ClusterFeatureStore)
        for number, answers in enumerate(told):
            for event, applied in zip(events, answers, strict=True):
                self._note(number, event, applied)
        told = [
            [(each.carried and each.carried.state, str(each.told), each.number > 0) for each in some]
            for some in told
        ]
        assert told[0] == told[1]

    def _note(self, number, event, applied):
        if applied.carried is not None and event.entities[0] in VALUES:
            self.numbers[number][event.entities[0]].append(applied.number)
            self.marks[number][event.entities[0]].append(applied.carried.mark)

    def keep(self, value, before, after, state, ids):
        answers = [(f"t{each}", each / 7) for each in ids]
        for store, marks, numbers in zip(self.stores, self.marks, self.numbers, strict=True):
            known = marks[value] + numbers[value]
            store.keep(
                [
                    Kept(
                        value,
                        known[-1 - before % len(known)],
                        numbers[value][-1 - after % len(numbers[value])],
                        state,
                        answers,
                        NETWORK,
                    )
                ]
            )

    def carry(self, network):
        self.do(lambda store: store.carry("card", network))

    def fill(self, states, at):
        self.do(lambda store: store.fill("ff", states, {"transactions/0": at}))

    def flush(self):
        self.do(lambda store: store.flush())
        assert self.stores[0].refused == self.stores[1].refused

    def adopt(self):
        self.do(lambda store: store.adopt("ff"))

    def drop(self):
        self.do(lambda store: store.drop_states("ff"))

    def states(self):
        self.do(
            lambda store: (
                store.filled("ff"),
                *(store.states(each, (*VALUES, "c")) for each in (NETWORK, "ff")),
            )
        )

    def forget(self, value):
        self.do(lambda store: store.forget("card", value))


def _said(act, store):
    try:
        return act(store)
    except (Filled, ValueError) as error:
        return type(error), str(error)


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_every_store_keeps_and_tells_the_same(make_store, data):
    both = Both(make_store(FEW), data.draw(schedules()))
    for name, *details in data.draw(STEPS):
        getattr(both, name)(*details)
    both.flush()
    both.states()
