"""A network that is late, out of memory or broken holds no decision up, and comes back by itself with nothing forgotten."""

from __future__ import annotations

import logging
import threading

import pytest

from features.store import InMemoryFeatureStore
from models.base import DeviceFull, Series
from stream.pipeline import Champion, Pipeline
from stream.timely import BUSY, FAILED, LATE, PAUSE_SECONDS, PAUSED, Timely
from tests.unit.stream.fakes import AmountScorer
from tests.unit.stream.networks import FEATURES, NETWORK, ToyNetwork, part_of
from tests.unit.stream.test_sequence import numbers, payment

SOON = 0.05
CHAMPION = Champion(AmountScorer(), "river-1", 2.0)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Path:
    """A path whose network does what it is told to."""

    def __init__(self, seconds=SOON):
        self.model, self.clock = ToyNetwork(), Clock()
        self.timely = Timely(self.model, seconds, self.clock)
        self.store = InMemoryFeatureStore(FEATURES)
        self.pipeline = Pipeline(
            self.store, CHAMPION, part_of(self.store, self.model, step=self.timely.advance)
        )
        self.count = 0
        self.decided = []

    def batch(self, cards=("a", "a", "b")):
        events = [payment(f"{self.count}-{at}", self.count, card=card) for at, card in enumerate(cards)]
        self.count += 1
        made = self.pipeline.run(events)
        self.decided += made
        return {"sequence" in each.parts for each in made}

    def states(self):
        return numbers(self.store.states(NETWORK, ["a", "b"]))

    def close(self):
        self.timely.close()


def undisturbed(batches, cards=("a", "a", "b")):
    path = Path(5)
    for _ in range(batches):
        path.batch(cards)
    path.close()
    return path


@pytest.fixture
def path():
    made = Path()
    yield made
    made.close()


def holding(until):
    return lambda cards: until.wait(10) or None


def test_a_late_network_is_decided_without_and_reads_what_it_missed_before_what_comes_next(path, caplog):
    assert path.batch() == {True}
    until = threading.Event()
    path.model.before = holding(until)
    assert path.batch() == {False}
    assert path.batch() == {False}, "it is busy still: nobody waits for it a second time"
    assert (path.timely.missed[LATE], path.timely.missed[BUSY]) == (3, 3)
    path.model.before = lambda cards: None
    until.set()
    path.timely._running.result(5)
    assert path.batch() == {True}
    expected = undisturbed(4)
    assert path.states() == pytest.approx(expected.states(), abs=1e-6)
    assert path.decided[-1].parts["sequence"] == pytest.approx(
        expected.decided[-1].parts["sequence"], abs=1e-6
    )
    assert {each.rung for each in path.decided} == {"river"}
    assert "WEIR_NETWORK_DEADLINE_MS" in caplog.text
    assert "6 events were decided without it" in caplog.text


def test_what_a_late_network_made_is_thrown_away(path):
    until = threading.Event()
    path.model.before = holding(until)
    path.batch()
    (held,) = path.store.states(NETWORK, ["b"])
    assert len(held) == 8 + 16, "what it carried, and what it missed"
    until.set()
    path.timely._running.result(5)
    assert path.store.states(NETWORK, ["b"]) == [held]


def raising(error, times=1):
    left = [error] * times

    def fail(cards):
        if left:
            raise left.pop()

    return fail


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device lost"), ValueError("x"), MemoryError()])
def test_a_network_that_fails_rests_and_is_tried_again_by_itself(path, error, caplog):
    path.model.before = raising(error)
    assert path.batch() == {False}
    assert path.batch() == {False}
    assert len(path.model.calls) == 1
    assert (path.timely.missed[FAILED], path.timely.missed[PAUSED]) == (3, 3)
    path.clock.now += PAUSE_SECONDS
    assert path.batch() == {True}
    assert path.states() == pytest.approx(undisturbed(3).states(), abs=1e-6)
    assert type(error).__name__ in caplog.text


def test_a_device_without_memory_gets_half_of_the_cards_and_all_of_them_again_later(path):
    cards = tuple("abcdefgh")

    def full(some):
        if len(some) > 3:
            raise DeviceFull("no")

    path.timely._seconds = 5
    path.model.before = full
    assert path.batch(cards) == {True}
    assert path.model.calls == [8, 4, 2, 2, 2, 2]
    assert path.batch(cards) == {True}
    assert path.model.calls[6:] == [2, 2, 2, 2], "it is not asked for too much with every batch"
    path.model.before = lambda some: None
    path.clock.now += PAUSE_SECONDS
    assert path.batch(cards) == {True}
    assert path.model.calls[-1] == 8
    assert path.states() == pytest.approx(undisturbed(3, cards).states(), abs=1e-6)


def test_a_device_without_memory_for_one_card_has_failed(path):
    path.model.before = raising(DeviceFull("no"), 9)
    assert path.batch() == {False}
    assert path.timely.missed[FAILED] == 3


def test_it_says_so_once_a_minute_and_no_more(path, caplog):
    caplog.set_level(logging.ERROR)
    path.model.before = raising(RuntimeError("no"), 99)
    for _ in range(12):
        path.batch()
        path.clock.now += PAUSE_SECONDS
    assert [each.levelname for each in caplog.records].count("ERROR") == 2


def test_a_network_that_stays_too_slow_for_all_cards_reads_some_of_them_and_more_again_later():
    model, clock = ToyNetwork(), Clock()
    timely = Timely(model, SOON, clock)
    cards = [Series(b"", [(1.0, 1.0)]) for _ in range(8)]
    slow, free = threading.Event(), threading.Event()

    def too_many(some):
        if len(some) > 4 and not free.is_set():
            slow.wait(10)

    model.before = too_many
    for _ in range(2):
        slow.clear()
        assert timely.advance(cards) == [None] * 8
        slow.set()
        timely._running.result(5)
    slow.clear()
    made = timely.advance(cards)
    assert [each is not None for each in made] == [True] * 4 + [False] * 4
    free.set()
    assert all(timely.advance(cards))
    assert model.calls == [8, 8, 4, 8]
    timely.close()
