"""While the profile's own generation is filled the live one decides; the change loses nothing, and is said."""

from contextlib import contextmanager

import pytest

from features.generations import Generation
from features.store import AtOnce, Run, Source
from stream.child import Child
from stream.grounds import Basis, Ground
from stream.records import TP, Record
from stream.warming import Mine, Warming
from tests.contract.schedules import feature_set, label

T, L = TP("transactions", 0), TP("labels", 0)


class Store:
    """Keeps which offsets were applied, in order."""

    def __init__(self, **positions):
        self.held = {(name, 0): at for name, at in positions.items()}
        self.applied = []

    def positions(self):
        return dict(self.held)

    def batch(self, runs):
        return AtOnce(lambda: [self._apply(run) for run in runs] and [])

    def _apply(self, run: Run):
        place = run.source[:2]
        assert self.held.get(place, 0) >= run.source.before, "it follows something that is not there"
        self.applied += [(place[0], offset) for offset in run.source.offsets]
        self.held[place] = max(self.held.get(place, 0), run.source.after)


class Log:
    """Both topics' records, one after the other in turns."""

    def __init__(self, positions):
        self.positions = dict(positions)

    def fetch(self, count):
        found = []
        for offset in range(20):
            for tp in (T, L):
                if tp in self.positions and offset >= self.positions[tp]:
                    found.append(Record(tp.topic, 0, offset, None, b"", (), 0))
        self.positions = dict.fromkeys(self.positions, 20)
        return found

    def close(self):
        pass


class Codec:
    def decode_many(self, records):
        return [label(f"l{each.topic}{each.offset}", "t", each.offset / 10) for each in records]


class Live:
    def __init__(self):
        self.swapped = []

    def swap(self, generation):
        self.swapped.append(generation)


class Filling:
    finished = stopped = False

    def done(self):
        return self.finished

    def stop(self):
        self.stopped = True


@pytest.fixture
def parts():
    return Store(transactions=6, labels=3), Live(), Filling()


@pytest.fixture
def warming(parts):
    own, live, filling = parts
    borrowed = Ground(Store(), Basis("old", ("new",)))
    mine = Mine(Generation(4, feature_set(), "m"), own, live, Codec(), Log)
    return Warming(borrowed, mine, filling, lambda: None)


def source(tp, before, after):
    return Source(*tp, before, after, range(before, after))


def test_until_it_is_filled_decisions_rest_on_what_is_live(warming, parts):
    own, live, _ = parts
    ground = warming.under([source(T, 6, 9)])
    assert (ground.basis, ground.store) == (Basis("old", ("new",)), warming.now.store)
    assert (own.applied, live.swapped) == ([], [])


def test_what_was_decided_meanwhile_is_applied_before_the_change_in_the_logs_order(warming, parts):
    """Of the labels, too, none of which is in the batch that comes next."""
    own, live, filling = parts
    warming.under([source(T, 6, 9), source(L, 3, 5)])
    filling.finished = True
    ground = warming.under([source(T, 9, 11)])
    assert own.applied == [("labels", 3), ("labels", 4), *[("transactions", offset) for offset in (6, 7, 8)]]
    assert ground.store is own
    assert ground.basis == Basis(feature_set().version)
    assert live.swapped == [Generation(4, feature_set(), "m")]


def test_a_partition_that_comes_first_after_the_change_is_brought_up_once(warming, parts):
    own, live, filling = parts
    filling.finished = True
    warming.under([source(T, 6, 7)])
    assert own.applied == []
    warming.under([source(L, 5, 6)])
    assert own.applied == [("labels", 3), ("labels", 4)]
    own.held["labels", 0] = 0  # nobody looks again
    warming.under([source(L, 6, 7)])
    assert len(own.applied) == 2
    assert len(live.swapped) == 1


def test_nothing_is_live_before_it_holds_everything(warming, parts):
    own, live, filling = parts
    warming.under([source(T, 6, 9)])
    filling.finished = True
    own.batch = None
    with pytest.raises(TypeError):
        warming.under([source(T, 9, 10)])
    assert live.swapped == []


def test_closing_ends_who_fills(warming, parts):
    warming.close()
    assert parts[2].stopped


@contextmanager
def child(code, clock):
    made = Child({}, ("-c", code), clock)
    try:
        yield made
    finally:
        made.stop()


def test_a_child_that_ends_well_is_done_and_one_that_dies_is_started_again_after_a_while(tmp_path):
    now, flag = [0.0], tmp_path / "flag"
    code = f"import os, sys; there = os.path.exists({str(flag)!r}); sys.exit(0 if there else 3)"
    with child(code, lambda: now[0]) as made:
        first = made._process
        first.wait()
        assert not made.done()
        assert made._process is first, "not at once"
        flag.touch()
        now[0] = 60.0
        assert not made.done()
        made._process.wait()
        assert made.done()
        assert made.done()


def test_a_child_that_still_works_is_ended_with_its_parent():
    with child("import time; time.sleep(600)", lambda: 0.0) as made:
        assert not made.done()
    assert made._process.poll() is not None
