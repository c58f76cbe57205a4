"""A profile with a feature more, on a running system: decisions go on, say what they lack, and end as if it had always been."""

import random
import shutil
import signal
import threading
import time

import msgspec
import pytest

from features.profile import load
from features.redis_generations import RedisLive
from features.store import StoreUnavailable
from stream.decisions import LABELS, TRANSACTIONS
from stream.embedded.server import running
from stream.records import TP, Outgoing
from tests.acceptance.generations import MORE, done, live, state
from tests.acceptance.harness import eventually, log_of, rows, start, stop, weir, without_clock

pytestmark = pytest.mark.slow

BEFORE = 3_000
"""Records that are decided with the old profile."""

SLICE, PAUSE = 40, 0.05

LAST = 1_000
"""Records that come drop by drop until the new features are live: at least so many are left for then."""

NEW = "merchant_mean_amount_7d"


class Feed:
    """What arrived at one Weir arrives at another one, in its order."""

    def __init__(self, source, home):
        self._home, log = home, log_of(source)
        self._reader = log.reader({TP(TRANSACTIONS, 0): 0, TP(LABELS, 0): 0})
        self._left = sum(log.end_offsets(topic)[0] for topic in (TRANSACTIONS, LABELS))
        self._thread = threading.Thread(target=self._flow)

    def more(self, count):
        """Append the next records, at most so many; how many there were."""
        records, target = self._reader.fetch(count), log_of(self._home)
        for topic, run in runs(records):
            target.append(topic, [Outgoing(each.key, each.value, each.headers) for each in run])
        self._left -= len(records)
        return len(records)

    def flow(self):
        """Append all but the last, a slice at a time, meanwhile."""
        self._thread.start()

    def _flow(self):
        while self._left > LAST and self.more(SLICE):
            time.sleep(PAUSE)

    def end(self, newer):
        """Append the rest, once the new features are live."""
        self._thread.join()
        eventually(lambda: self.more(1) and live_now(self._home, newer), "they are live", 60)
        while self.more(SLICE):
            time.sleep(PAUSE)


def runs(records):
    run = []
    for each in records:
        if run and each.topic != run[0].topic:
            yield run[0].topic, run
            run = []
        run.append(each)
    if run:
        yield run[0].topic, run


@pytest.fixture
def flowing(home, from_the_beginning, profile):
    """A Weir whose worker has decided the first part with the old profile; the rest is to come."""
    shutil.copytree(from_the_beginning[0] / "keys", home / "keys")
    feed = Feed(from_the_beginning[0], home)
    feed.more(BEFORE)
    worker = start("worker", "--role", "score", "--profile", profile, directory=home)
    eventually(lambda: committed_all(home), "the first part is decided")
    stop(worker)
    return feed


def committed_all(home):
    log = log_of(home)
    return all(log.committed("weir-score", t) == log.end_offsets(t) for t in (TRANSACTIONS, LABELS))


def decided(home):
    """Decisions as readers count them, the first of each id, and how they stand on the log."""
    first, order = {}, []
    for row in rows(home, "decisions"):
        if row["event_id"] not in first:
            order.append(row["event_id"])
        first.setdefault(row["event_id"], without_clock(row))
    return first, [first[event_id] for event_id in order]


def all_is_as_if_it_had_always_been(home, from_the_beginning, newer):
    """By id: no decision is missing, none lacks more than it says, and the new state is the same to the byte."""
    made, _ = decided(home)
    expected = from_the_beginning[1]
    assert set(made) == set(expected)
    for event_id, row in made.items():
        told = expected[event_id]["features"]
        unknown = {NEW} if row["features_version"] != load(newer).features_version else set()
        assert {name: value for name, value in row["features"].items() if name not in unknown} == {
            name: told[name] for name in row["features"] if name not in unknown
        }
        if NEW in row["features"] and unknown:
            assert row["features"][NEW] is None
            assert row["warming"] == [NEW]
        else:
            assert "warming" not in row
    assert state(home, newer) == from_the_beginning[2]
    assert live(home).version == load(newer).features_version
    assert rows(home, "transactions.dlq") == []


def test_decisions_go_on_say_what_they_lack_and_lack_nothing_once_it_is_filled(
    home, flowing, from_the_beginning, newer
):
    assert NEW in load(newer).features.names, MORE
    worker = start("worker", "--role", "score", "--profile", newer, directory=home)
    try:
        flowing.flow()
        told = eventually(lambda: said_by_the_features(home, newer), "it is told that they are filled")
        assert told["lacking"] == [NEW]
        assert 0 <= told["held"] <= told["log"]
        flowing.end(newer)
        eventually(lambda: done(home), "all is decided", 120)
        assert said_by_the_features(home, newer) is None
    finally:
        stop(worker)
    all_is_as_if_it_had_always_been(home, from_the_beginning, newer)
    _, order = decided(home)
    warming = ["warming" in row for row in order]
    assert warming.count(True) > 10, "it decided before it was filled"
    last = len(warming) - warming[::-1].index(True)
    assert not any(warming[last:])
    assert len(warming) - last > 10, "and after"
    assert not any(row.get("late") or row["seq"] == 0 for row in order)
    (output,) = home.glob("worker*.out")
    assert f"are filled meanwhile; until then decisions lack {NEW}" in output.read_text()
    assert "are filled, and live from now on" in output.read_text()


def test_a_worker_that_is_killed_while_it_warms_up_and_while_it_changes_over(
    home, flowing, from_the_beginning, newer
):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    flowing.flow()
    for _ in range(4):
        worker = start("worker", "--role", "score", "--profile", newer, directory=home)
        time.sleep(chance.uniform(2.0, 5.0))
        stop(worker, signal.SIGKILL)
    worker = start("worker", "--role", "score", "--profile", newer, directory=home)
    try:
        flowing.end(newer)
        eventually(lambda: done(home), f"all is decided (seed {seed})", 120)
    finally:
        stop(worker)
    all_is_as_if_it_had_always_been(home, from_the_beginning, newer)


def said_by_the_features(home, newer):
    told = weir("features", "list", "--profile", newer, "--json", directory=home)
    return msgspec.json.decode(told).get("warming")


def live_now(home, newer):
    """Whether the new generation is live, in the Redis that runs."""
    url = running(home / "redis")
    if url is None:
        return False
    reading = RedisLive(url, "weir:")
    try:
        found = reading.read()
        return found is not None and found.version == load(newer).features_version
    except StoreUnavailable:  # it loads what it has on its disk
        return False
    finally:
        reading.close()
