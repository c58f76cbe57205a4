"""One learner works at a time, whoever dies, sleeps or wakes up."""

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stream import lease
from stream.lease import SILENT_SECONDS, Heart, Held, Place, stand_by

ROOT = Path(lease.__file__).parents[1]


class MemoryLeases:
    """A lease in memory; while `beating` its holder counts up whenever somebody looks."""

    def __init__(self, held=None):
        self.held, self.beating, self.looks, self.failing = held, False, 0, False

    def look(self):
        self.looks += 1
        if self.beating:
            self.beat(self.held.token)
        return self.held

    def take(self, seen, holder):
        if self.held != seen:
            return None
        self.held = Held(seen.token + 1 if seen else 1, 0, holder)
        return self.held.token

    def beat(self, token):
        if self.failing:
            raise OSError("the database is away")
        if token == self.held.token:
            self.held = Held(token, self.held.beat + 1, self.held.holder)
        return token == self.held.token

    def give_back(self, token):
        if token == self.held.token:
            self.held = Held(token, self.held.beat, None)


class Clock:
    """Moves on by being slept on; calls what was planned for a time."""

    def __init__(self):
        self.now, self.planned = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for at, do in list(self.planned):
            if self.now >= at:
                self.planned.remove((at, do))
                do()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


def waited(leases, place, *planned):
    clock = Clock()
    clock.planned = list(planned)
    return stand_by(leases, place, clock.sleep, clock), clock.now


def test_the_first_learner_works_at_once(place):
    leases = MemoryLeases()
    assert waited(leases, place) == (1, 0.0)
    assert leases.held.holder == place.holder


def test_one_that_was_given_back_is_taken_at_once(place):
    assert waited(MemoryLeases(Held(4, 17, None)), place) == (5, 0.0)


def test_a_silent_one_is_taken_over_after_its_silence_and_not_before(place):
    token, seconds = waited(MemoryLeases(Held(4, 17, "there/1 pid 9")), place)
    assert token == 5
    assert SILENT_SECONDS <= seconds < SILENT_SECONDS + 1


def test_while_the_holder_beats_nobody_takes_over_and_after_its_last_beat_somebody_does(place):
    leases = MemoryLeases(Held(4, 17, "there/1 pid 9"))
    leases.beating = True
    token, seconds = waited(leases, place, (60.0, lambda: setattr(leases, "beating", False)))
    assert token == 5
    assert 60 + SILENT_SECONDS - 1 < seconds < 60 + SILENT_SECONDS + 2


def test_of_two_that_stand_by_one_gets_it(place):
    """The other one saw it as it was; it is so no more."""
    leases = MemoryLeases(Held(4, 17, "there/1 pid 9"))
    seen = leases.look()
    assert leases.take(seen, "there/2") == 5
    assert leases.take(seen, "there/3") is None


def test_one_of_the_same_place_is_dead_since_we_live(place):
    assert waited(MemoryLeases(Held(4, 17, f"{place.name} pid 12345")), place) == (5, 0.0)


def test_a_place_keeps_its_name_and_lets_one_in_at_a_time(tmp_path):
    first = Place(tmp_path)
    with (tmp_path / lease.LOCK_FILE).open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    first.close()
    second = Place(tmp_path)
    assert second.name == first.name
    second.close()


def test_one_that_only_stands_by_stops_when_it_is_told_to(tmp_path):
    working = Place(tmp_path)
    code = (
        "import sys; from pathlib import Path; from stream import lease\n"
        "lease.stop_standing_by_on_signals(); lease.Place(Path(sys.argv[1])); sys.exit(3)"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert "standing by: another learner of" in waiting.stderr.readline()
    waiting.terminate()
    assert waiting.wait(20) == 0
    working.close()


def test_different_places_have_different_names(tmp_path):
    one, two = Place(tmp_path / "one"), Place(tmp_path / "two")
    assert one.name != two.name
    for each in (one, two):
        each.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)


def test_a_heart_beats_through_failures_and_tells_when_the_lease_is_anothers(quick):
    leases, lost = MemoryLeases(Held(4, 0, "here")), threading.Event()
    leases.failing = True
    heart = Heart(leases, 4, lost.set)
    assert not lost.wait(0.05)
    leases.failing = False
    deadline = time.monotonic() + 20
    while not leases.held.beat:
        assert time.monotonic() < deadline, "it beats again"
        assert not lost.wait(0.01)
    leases.held = Held(5, 0, "there")
    assert lost.wait(20)
    heart.stop()
    assert leases.held.holder == "there", "what is another's is not given back"


def test_a_heart_that_stops_gives_the_lease_back(quick):
    leases = MemoryLeases(Held(4, 0, "here"))
    Heart(leases, 4, lambda: None).stop()
    assert leases.held.holder is None


def test_a_learner_that_lost_its_lease_ends_as_after_a_fault():
    code = (
        "import time; from stream import lease; lease.BEAT_SECONDS = 0.01\n"
        "class Lost:\n    def beat(self, token): return False\n"
        "lease.Heart(Lost(), 1); time.sleep(20)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == lease.LOST
    assert "another learner took over" in done.stderr
