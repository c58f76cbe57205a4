"""Which network reads along: the newest whose states are whole; another is filled beside it and adopted with nothing in hand."""

from __future__ import annotations

import io
import threading

import msgspec
import pytest

from features.store import InMemoryFeatureStore, Run, Source
from stream import filling_states
from stream.adopting import Adopting, Offer
from stream.decisions import DECISIONS
from stream.filling_states import Logged, StateFiller
from stream.pipeline import Pipeline
from stream.records import Record
from stream.sequence import SequencePart
from tests.unit.stream.networks import FEATURES, ToyNetwork
from tests.unit.stream.test_sequence import numbers, payment

OLD, NEW = Offer("01d", ToyNetwork(), "sequence-1"), Offer("0e3", ToyNetwork(), "sequence-2")


class Offers:
    def __init__(self, offer):
        self.offer = offer

    def newest(self):
        return self.offer

    def readings(self):
        return iter(())

    def close(self):
        pass


class Filling:
    """Somebody who fills when he is told to."""

    def __init__(self, work, network):
        self.work, self.network = work, network
        self.at_end = self.stopped = False

    def ready(self):
        return self.at_end

    def finish(self):
        self.work.fill(self.network)
        return True

    def stop(self):
        self.stopped = True


class Work:
    """A worker of one partition, whose decisions are on a log."""

    def __init__(self, offer=None, store=None):
        self.store = store or InMemoryFeatureStore(FEATURES)
        self.offers, self.fillings, self.log, self.at = Offers(offer), [], [], 0
        self.pipeline = Pipeline(self.store)
        self.adopting = self.made()

    def made(self):
        return Adopting(
            self.offers,
            self.store,
            entity="card",
            begin=self.begin,
            fill=self.filling,
            seconds=5.0,
            most_lag=100,
        )

    def begin(self, offer, timely):
        return SequencePart(
            offer.network,
            offer.model,
            self.store,
            entity=(1, "card"),
            names=FEATURES.names,
            writing=threading.Lock(),
            step=timely.advance,
        )

    def filling(self, offer):
        self.fillings.append(Filling(self, offer.network))
        return self.fillings[-1]

    def fill(self, network):
        filler = StateFiller(self.store, network, ToyNetwork(), cards_of)
        filler.take([Record(DECISIONS, 0, at, b"k", value, (), 0) for at, value in enumerate(self.log)])

    def batch(self, *events):
        if self.adopting.due:
            self.adopting.change()
        source = Source("transactions", 0, self.at, self.at + len(events))
        self.at = source.after
        part = self.adopting.under(self.store, [source])
        way = part.begin([source]) if part else None
        batch = self.store.batch([Run(events, source)])
        (way or batch).apply(*[batch] if way else [])
        applied = batch.answers()
        told = way.read(events, applied) if way else None
        made = self.pipeline.answer(events, applied, told=told)
        self.log += [logged(each) for each in made]
        if way:
            way.settle()
        return [each.parts for each in made]


def logged(made):
    features = dict(zip(FEATURES.names, made.applied.vector, strict=True))
    record = {"features": features, "entities": {"card": made.event.entities[1]}, "seq": made.applied.seq}
    return msgspec.json.encode(record)


def cards_of(some):
    return [each.entities["card"] for each in some]


def test_a_store_that_is_empty_is_carried_from_its_first_event_on():
    work = Work(OLD)
    ((parts),) = work.batch(payment("1"))
    assert 0 < parts["sequence"] < 1
    assert work.store.adopted("01d")
    assert not work.fillings


def test_who_died_before_any_state_was_stored_is_gone_on_with():
    work = Work(OLD)
    events = [payment("1")]
    work.store.batch([Run(events, Source("transactions", 0, 0, 1))]).apply()
    again = Work(OLD, store=work.store)
    assert not again.fillings
    assert again.adopting.written() == {}, "it reads all of it again"
    assert again.batch(*events) == Work(OLD).batch(*events)


def test_without_a_network_nothing_is_told_and_none_is_asked():
    work = Work()
    assert work.batch(payment("1")) == [None]
    assert work.adopting.written() is None


def test_a_new_network_is_filled_beside_the_old_one_and_answers_as_if_it_had_always_been_there():
    work, always = Work(OLD), Work(NEW)
    for at in range(3):
        assert work.batch(payment(f"{at}", at), payment(f"{at}b", at, card="b")) == always.batch(
            payment(f"{at}", at), payment(f"{at}b", at, card="b")
        )
    work.offers.offer = NEW
    for at in (3, 4):
        parts = work.batch(payment(f"{at}", at), payment(f"{at}", at))
        assert parts == always.batch(payment(f"{at}", at), payment(f"{at}", at)), (
            "the old one reads along still"
        )
    (filling,) = work.fillings
    assert work.store.written("0e3") == {}
    filling.at_end = True
    assert work.batch(payment("5", 5)) == always.batch(payment("5", 5))
    assert work.adopting.written() == {("transactions", 0): work.at}
    assert {each.labels["network"] for each in work.adopting.readings() if each.labels.get("network")} == {
        "0e3"
    }
    states = [numbers(each.store.states("0e3", ["a", "b"])) for each in (work, always)]
    assert states[0] == pytest.approx(states[1], abs=1e-9)


def test_before_the_first_is_filled_no_network_answers():
    work = Work()
    work.batch(payment("1"))
    work.offers.offer = NEW
    assert work.batch(payment("2")) == [None]
    work.fillings[0].at_end = True
    ((parts),) = work.batch(payment("3"))
    assert parts == Work(NEW).batch(payment("1"), payment("2"), payment("3"))[2]


def test_what_was_applied_and_never_decided_is_decided_before_a_network_is_adopted():
    work = Work()
    work.batch(payment("1"))
    work.store.batch([Run([payment("2")], Source("transactions", 0, 1, 2))]).apply()  # by one that died then
    work.offers.offer = NEW
    work.adopting.change()
    work.fillings[0].at_end = True
    assert work.batch(payment("2")) == [None]
    ((parts),) = work.batch(payment("3"))
    assert parts == Work(NEW).batch(payment("1"), payment("2"), payment("3"))[2]


def test_one_that_was_carried_long_ago_is_filled_anew():
    work = Work(OLD)
    work.batch(payment("1"))
    work.offers.offer = None
    again = Work(None, store=work.store)
    again.at = 1
    for at in range(101):
        again.batch(payment(f"later-{at}", at))
    again.offers.offer = OLD
    again.adopting.change()
    assert len(again.fillings) == 1
    assert not work.store.adopted("01d")


def test_a_newer_one_still_ends_who_fills_for_the_one_before():
    work = Work()
    work.batch(payment("1"))
    for offer in (OLD, NEW):
        work.offers.offer = offer
        work.batch(payment(offer.version))
    assert [each.stopped for each in work.fillings] == [True, False]
    work.adopting.close()
    assert work.fillings[1].stopped


class TestFilling:
    """States from decisions."""

    def records(self, rows, at=0):
        values = [msgspec.json.encode(each) if isinstance(each, dict) else each for each in rows]
        return [Record(DECISIONS, 0, at + n, b"k", value, (), 0) for n, value in enumerate(values)]

    def row(self, seq, card="a", **more):
        features = {"amount": 10.0 * seq, "shop_sum_60s": None}
        return {"features": features, "entities": {"card": card}, "seq": seq, **more}

    def store(self):
        store = InMemoryFeatureStore(FEATURES)
        store.apply([payment("0")])
        store.carry("card", "0e3")
        return store

    def filled(self, *parts):
        store = self.store()
        at = 0
        for part in parts:
            filler = StateFiller(store, "0e3", ToyNetwork(), cards_of)
            everything = self.records([row for each in parts for row in each])
            filler.take(everything[: at + len(part)])
            at += len(part)
        return store.filled("0e3"), store.states("0e3", ["a", "b"])

    def test_an_event_that_is_decided_twice_or_late_counts_once_or_not_at_all(self):
        rows = [self.row(1), self.row(2, "b"), self.row(3)]
        again = [*rows, self.row(1), self.row(2, "b"), self.row(3), self.row(9, late=True), b"{", self.row(0)]
        assert self.filled(again)[1] == self.filled(rows)[1]

    def test_one_that_died_is_gone_on_with_and_counts_nothing_twice(self):
        one, two = [self.row(1), self.row(2, "b"), self.row(3)], [self.row(3), self.row(4, "b"), self.row(5)]
        assert self.filled(one, two) == self.filled([*one, *two])
        assert self.filled(one, two)[0] == {"decisions/0": 6}

    def test_it_says_when_it_is_at_the_end_and_takes_in_what_came_until_it_is_to_finish(self, monkeypatch):
        taken = []

        class Tail:
            left = [["a"], ["b"]]  # noqa: RUF012 - of this test
            last = [["c"], []]  # noqa: RUF012

            def at_end(self):
                return not self.left

            def read(self):
                return self.left.pop(0) if self.left else ["more"]

            def catch_up(self):
                return self.last.pop(0)

        class Filler:
            def take(self, records):
                taken.extend(records)

        orders = iter([False, True])
        monkeypatch.setattr(filling_states, "_ordered", lambda _: next(orders))
        said = io.StringIO()
        filling_states.run(Filler(), Tail(), say=said)
        assert taken == ["a", "b", "more", "c"]
        assert said.getvalue() == "ready\n"

    def test_what_it_reads_of_a_decision_is_what_stands_on_the_wire(self):
        row = self.row(1, sealed={"card": "x"}, rung="river")
        assert msgspec.json.decode(msgspec.json.encode(row), type=Logged).seq == 1
