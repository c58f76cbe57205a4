"""A network in the path: whatever dies, comes twice or late, each card's events count once and in order, and score the same."""

from __future__ import annotations

import math
import struct
import threading
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events import Label, Transaction
from features.store import InMemoryFeatureStore, Run, Source, Status, StoreBehind
from models.base import Series
from stream.pipeline import Champion, Decision, Pipeline
from stream.sequence import narrowing
from tests.unit.stream.fakes import label
from tests.unit.stream.networks import FEATURES, NETWORK, SECOND, ToyNetwork, part_of

BEGIN = 1_767_312_000 * SECOND
CARDS = ("a", "b", "")


def payment(event_id, at=0, *, card="a", amount=1000, late_s=0, body=b"body0000"):
    arrived = BEGIN + round(at * SECOND)
    return Transaction(event_id, arrived - late_s * SECOND, arrived, amount, "EUR", ("shop", card), {}, body)


class Worker:
    """Takes batches of a log through the path. Some are applied ahead; what it has decided in vain is seen by nobody."""

    def __init__(self, store, log, at, sent):
        self.store, self.log, self.at, self.sent = store, log, at, sent
        self.part = part_of(store)
        self.pipeline = Pipeline(store)
        self.applied, self.answered, self.done = [], [], at

    def apply(self, count):
        """The next records, ahead of being answered."""
        events = self.log[self.at : self.at + count]
        end = self.at + len(events)
        source = Source("transactions", 0, self.at, end, range(self.at, end))
        way, batch = self.part.begin([source]), self.store.batch([Run(events, source)])
        way.apply(batch)
        self.at = end
        self.applied.append((way, events, batch))

    def answer(self, send):
        """The oldest of those that were applied; whether its decisions reach the log."""
        if self.applied:
            way, events, batch = self.applied.pop(0)
            answers = batch.answers()
            told = way.read(events, answers)
            decided = self.pipeline.answer(events, answers, told=told)
            self.answered.append((way, len(events)))
            if send:
                self.sent += [each for each in decided if isinstance(each, Decision)]

    def settle(self):
        """The oldest of those that were answered: it is done then."""
        if self.answered:
            way, count = self.answered.pop(0)
            way.settle()
            self.done += count


def parts_of(decisions):
    """The network's probability in the first decision of each event that is not late."""
    first = {}
    for made in decisions:
        if made.applied.status is not Status.LATE:
            first.setdefault(made.event.event_id, made.parts)
    return first


def undisturbed(log):
    """Event by event, each stored before the next."""
    store, sent = InMemoryFeatureStore(FEATURES), []
    worker = Worker(store, log, 0, sent)
    for _ in log:
        worker.apply(1)
        worker.answer(send=True)
        worker.settle()
    return parts_of(sent), store.states(NETWORK, CARDS)


@st.composite
def logs(draw):
    """Payments of a few cards: some late, some twice, some with another body, and labels between."""
    log, at = [], 0
    for number in range(draw(st.integers(1, 24))):
        at += draw(st.sampled_from([0, 1, 5]))
        kind = draw(st.sampled_from(["new", "new", "new", "late", "again", "conflict", "label"]))
        earlier = [each for each in log if isinstance(each, Transaction)]
        if kind in ("again", "conflict") and earlier:
            event = draw(st.sampled_from(earlier))
            body = b"another0" if kind == "conflict" else event.body
            log.append(msgspec.structs.replace(event, body=body, arrived_us=BEGIN + at * SECOND))
        elif kind == "label" and earlier:
            log.append(label(earlier[0].event_id, at=BEGIN + at * SECOND, label_id=f"l{number}"))
        else:
            amount, card = draw(st.integers(0, 9000)), draw(st.sampled_from(CARDS))
            late_s = 2_000 if kind == "late" else draw(st.sampled_from([0, 0, 7]))
            log.append(payment(f"t{number}", at, card=card, amount=amount, late_s=late_s))
    return log


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["apply", "apply", "answer", "answer", "settle", "settle", "kill", "wake"]),
        st.integers(1, 5),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(log=logs(), steps=STEPS)
def test_batches_cut_anywhere_kills_redeliveries_and_a_zombie_change_neither_scores_nor_states(log, steps):
    store, sent = InMemoryFeatureStore(FEATURES), []
    worker = Worker(store, log, 0, sent)
    zombie = Worker(store, log, 0, [])
    for step, count, flag in steps:
        if step == "wake":  # it goes on with what it holds; its decisions come behind the others'
            zombie.answer(send=False) if count % 3 == 1 else zombie.settle()
        elif step == "kill":
            zombie, worker = worker if flag else zombie, Worker(store, log, worker.done, sent)
        elif step == "apply":
            if len(worker.applied) < 3:
                worker.apply(count)
        elif step == "answer":
            worker.answer(send=True)
        else:
            worker.settle()
    while worker.at < len(log) or worker.applied or worker.answered:
        if worker.at < len(log):
            worker.apply(3)
        worker.answer(send=True)
        worker.settle()
    scores, states = undisturbed(log)
    found = parts_of(sent)
    assert found.keys() == scores.keys()
    for event_id, parts in scores.items():
        assert found[event_id] == pytest.approx(parts, abs=1e-6), event_id
    assert numbers(store.states(NETWORK, CARDS)) == pytest.approx(numbers(states), abs=1e-6)


def numbers(states):
    return [struct.unpack("<d", each)[0] if each else 0.0 for each in states]


def run(*batches, model=None, store=None):
    """The network's probabilities of batches, one after the other."""
    store = store or InMemoryFeatureStore(FEATURES)
    pipeline = Pipeline(store, network=part_of(store, model))
    return [[each.parts.get("sequence") for each in pipeline.run(batch)] for batch in batches]


def test_several_events_of_a_card_are_one_call_and_in_order():
    model = ToyNetwork()
    ((one, two, three),) = run([payment("1"), payment("2"), payment("3", card="b")], model=model)
    assert model.calls == [2]
    assert [[one], [two], [three]] == run([payment("1")], [payment("2")], [payment("3", card="b")])
    assert len({one, two, three}) == 3


def test_a_late_event_is_read_behind_those_before_it_and_changes_nothing():
    model = ToyNetwork()
    late = payment("late", late_s=2_000)
    ((_, seen, after),) = run([payment("1"), late, payment("2")], model=model)
    assert model.calls == [2], "one call, whatever stands between"
    assert seen is not None
    assert [[after]] == run([payment("1")], [payment("2")])[1:]


def test_an_event_without_a_card_and_a_conflict_have_no_answer_from_a_network():
    store = InMemoryFeatureStore(FEATURES)
    pipeline = Pipeline(store, network=part_of(store))
    nobody, first = pipeline.run([payment("1", card=""), payment("2")])
    assert (nobody.parts, nobody.rung) == ({}, "rules")
    refused, again = pipeline.run([payment("2", body=b"another0"), payment("2")])
    assert "used before" in refused.reason
    assert again.parts == first.parts


def test_a_card_that_was_idle_for_too_long_begins_anew_in_the_middle_of_a_batch():
    store = InMemoryFeatureStore(FEATURES)
    part = part_of(store)
    events = [payment("1"), payment("2", at=9_000_000), payment("3", at=9_000_001)]
    applied = store.apply(events)
    before, anew, after = part.begin().read(events, applied)
    assert before == anew
    assert after != anew
    store.flush()
    assert store.refused == 1, "the first life is over before it is stored"
    alone = run([payment("2", at=9_000_000)], [payment("3", at=9_000_001)])
    assert numbers(store.states(NETWORK, ["a"]))[0] != 0
    assert [[anew], [after]] == alone


def test_a_repetition_gets_the_first_answer_while_that_is_on_its_way_to_the_store():
    store, sent = InMemoryFeatureStore(FEATURES), []
    worker = Worker(store, [payment("1"), payment("1")], 0, sent)
    for step in (worker.apply, worker.apply, worker.answer, worker.answer):
        step(1)
    first, again = sent
    assert again.applied.status is Status.DUPLICATE
    assert again.parts == first.parts != {}


def test_what_is_on_its_way_is_let_go_once_all_that_was_applied_before_it_was_stored_is_answered():
    store = InMemoryFeatureStore(FEATURES)
    worker = Worker(store, [payment(str(number)) for number in range(9)], 0, [])
    worker.apply(1)
    worker.apply(1)
    worker.answer(send=True)
    worker.settle()
    assert worker.part._states, "the second batch was applied before"
    worker.answer(send=True)
    worker.settle()
    for _ in range(3):
        worker.apply(1)
        worker.answer(send=True)
        worker.settle()
    assert len(worker.part._states) == len(worker.part._answers) == 1


class Slow:
    """A batch that takes what waits to be written along, and is on its way until it is let through."""

    def __init__(self, store):
        self.store, self.taken, self.through = store, threading.Event(), threading.Event()

    def apply(self):
        queued = list(self.store._states._queued)
        self.store._states._queued.clear()
        self.taken.set()
        assert self.through.wait(5)
        self.store._states._queued.extend(queued)
        self.store.flush()


def test_a_batch_whose_states_another_one_takes_along_waits_for_that():
    store = InMemoryFeatureStore(FEATURES)
    part = part_of(store, writing=threading.Lock())
    first, second, slow = part.begin(), part.begin(), Slow(store)
    events = [payment("1")]
    first.read(events, store.apply(events))
    applying = threading.Thread(target=second.apply, args=(slow,))
    applying.start()
    assert slow.taken.wait(5)
    settling = threading.Thread(target=first.settle)
    settling.start()
    settling.join(0.05)
    waited = settling.is_alive()
    slow.through.set()
    settling.join(5)
    applying.join(5)
    assert waited
    assert store.states(NETWORK, ["a"]) != [b""]


def test_states_that_the_store_has_lost_are_noticed():
    store = InMemoryFeatureStore(FEATURES)
    worker = Worker(store, [payment(str(number)) for number in range(2)], 0, [])
    worker.apply(1)
    worker.answer(send=True)
    worker.settle()
    store._states.of(NETWORK).written.clear()
    worker.apply(1)
    worker.answer(send=True)
    with pytest.raises(StoreBehind):
        worker.settle()


class Reads:
    """A scorer that rests on the network alone."""

    name = "reads"
    features = (*FEATURES.names, "score:sequence")

    def score_many(self, vectors):
        assert {len(vector) for vector in vectors} == {4}
        return [0.5 if math.isnan(vector[-1]) else vector[-1] for vector in vectors]

    def explain_one(self, vector, top=3):
        return [vector[-1]]

    def score_parts(self, vectors):
        return self.score_many(vectors), [{"river": 0.25} for _ in vectors]

    def score_one(self, vector):
        return self.score_many([vector])[0]

    def learn_one(self, vector, fraud):
        raise NotImplementedError

    def dump(self):
        raise NotImplementedError


def test_a_champion_that_reads_the_network_decides_with_it_and_says_so():
    store = InMemoryFeatureStore(FEATURES)
    champion = Champion(Reads(), "reads-1", 0.0)
    pipeline = Pipeline(store, champion, part_of(store))
    with_card, without = pipeline.run([payment("1"), payment("2", card="")])
    assert (with_card.rung, without.rung) == ("ensemble", "river")
    assert with_card.score == with_card.parts["sequence"] == with_card.reasons[0]
    assert (without.score, without.parts) == (0.5, {"river": 0.25})
    (alone,) = Pipeline(store, champion).run([payment("3")])
    assert (alone.rung, alone.score, alone.parts) == ("river", 0.5, None)


def test_a_network_that_reads_what_is_not_declared_is_refused():
    with pytest.raises(ValueError, match="night, which the profile does not declare"):
        narrowing(("amount",), ("amount", "night"))
    assert narrowing(("a", "b"), ("b",))((1.0, 2.0)) == (2.0,)
    assert narrowing(("a", "b"), ("a", "b"))((1.0, 2.0)) == (1.0, 2.0)


def test_the_toy_keeps_the_contract_of_networks():
    model = ToyNetwork()
    vectors = [(1.0, 2.0), (3.0, 4.0), (5.0, 60.0)]
    (whole,) = model.advance([Series(b"", vectors)])
    missed = model.missing(Series(b"", vectors[:2]))
    (rest,) = model.advance([Series(missed, vectors[2:])])
    assert (rest.state, rest.scores) == (whole.state, whole.scores[2:])


def test_labels_are_read_past():
    store = InMemoryFeatureStore(FEATURES)
    events = [Label("l", "1", True, "test", BEGIN), payment("1"), payment("2")]
    told = part_of(store).begin().read(events, store.apply(events))
    assert math.isnan(told[0])
    assert all(0 < each < 1 for each in told[1:])
    assert all(one != two for one, two in pairwise(told))
