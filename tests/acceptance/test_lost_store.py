"""Redis emptied under a running system: it is filled again to the byte, and what is decided meanwhile says what it lacks."""

import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from features import redis_copy
from features.profile import load
from features.redis_generations import RedisLive, generation_of
from features.redis_store import base_key
from tests.acceptance.generations import done
from tests.acceptance.harness import env, eventually, weir
from tests.acceptance.test_redis_faults import Kept
from tests.acceptance.test_warming import Feed, committed_all, decided
from tests.contract.valkey import Valkey

pytestmark = pytest.mark.slow

BEFORE = 6_000
"""Records that are decided before Redis is emptied."""


class Losing:
    """A Weir on a Redis that somebody empties, its worker kept alive as `weir up` does; fed what another one was fed."""

    def __init__(self, home, source, server, profile, **settings):
        shutil.copytree(source / "keys", home / "keys")
        self.home, self.server, self.profile = home, server, profile
        self.settings = {"WEIR_REDIS": server.url, "WEIR_PROFILE": str(profile), **settings}
        self.feed = Feed(source, home)
        self.feed.more(BEFORE)
        arguments = ["worker", "--role", "score"]
        self.worker = Kept(arguments, env(home, **self.settings), home / "score.log")
        self.worker.start()
        eventually(lambda: committed_all(home), "the first part is decided")

    def empty(self):
        with self.server.client() as client:
            client.flushall()

    def said_by_the_doctor(self):
        command = [sys.executable, "-m", "stream", "doctor", "--json"]
        told = subprocess.run(
            command, env=env(self.home, **self.settings), capture_output=True, text=True, check=False
        )
        findings = msgspec.json.decode(told.stdout)["findings"]
        return "".join(each["found"] for each in findings if each["check"] == "features")

    @contextmanager
    def nobody_fills(self):
        """While the block runs: who would fill the store waits, as if that took long."""
        live, generation = RedisLive(self.server.url, "weir:"), generation_of(load(self.profile))
        ended = threading.Event()

        def hold():
            while not ended.wait(1.0):
                live.hold(generation, "test")

        assert live.hold(generation, "test")
        holding = threading.Thread(target=hold)
        holding.start()
        yield
        ended.set()
        holding.join()
        live.let_go(generation, "test")
        live.close()

    def end(self):
        """Feed the rest, and wait until it is decided."""
        while self.feed.more(500):
            pass
        eventually(lambda: done(self.home), "all is decided", 120)

    def state(self):
        base = base_key("weir:", load(self.profile).features).decode()
        return {key: held for some in redis_copy.entries(self.server.url, base) for key, _, held in some}


@pytest.fixture
def losing(home, from_the_beginning, newer):
    made = []

    def make(**settings):
        made.append(Losing(home, from_the_beginning[0], server, newer, **settings))
        return made[0]

    with tempfile.TemporaryDirectory(prefix="weir-") as directory:  # a socket's path must be short
        server = Valkey(Path(directory))
        server.start()
        try:
            yield make
        finally:
            for each in made:
                each.worker.stop()
            server.kill()


def test_the_newest_snapshot_is_put_back_and_the_log_behind_it_is_read(losing, from_the_beginning):
    lost = losing(WEIR_SNAPSHOT_EVERY="1s")
    eventually(lambda: list(lost.home.glob("snapshots/*.json")), "a snapshot is taken")
    lost.feed.more(500)
    eventually(lambda: committed_all(lost.home), "what came since is decided")
    lost.empty()
    lost.end()
    made, _ = decided(lost.home)
    assert made == from_the_beginning[1]
    assert lost.state() == from_the_beginning[2]
    assert "Redis held nothing: the snapshot" in lost.worker.text()
    assert "knows nothing of it, so all of it is read again" not in lost.worker.text()


def test_where_much_is_lost_decisions_go_on_and_say_that_they_know_nothing(losing, from_the_beginning, newer):
    lost = losing(WEIR_WAIT_RECORDS="100")
    lost.empty()
    with lost.nobody_fills():
        lost.feed.more(1_500)
        eventually(lambda: committed_all(lost.home), "decisions go on")
        assert "decisions are degraded until they are there" in lost.said_by_the_doctor()
    eventually(lambda: lost.feed.more(1) and "live from now on" in lost.worker.text(), "it is filled")
    lost.end()
    assert lost.said_by_the_doctor() == ""
    made, _ = decided(lost.home)
    expected = from_the_beginning[1]
    assert set(made) == set(expected)
    of_events = {each.name for each in load(newer).features.features if not each.entity}
    degraded = [row for row in made.values() if row["rung"] == "degraded"]
    assert len(degraded) >= 100
    for row in degraded:
        told = expected[row["event_id"]]["features"]
        known = {name: value for name, value in row["features"].items() if value is not None}
        assert known == {name: told[name] for name in of_events}, "nothing that it does not know"
        assert set(row["warming"]) == set(told) - of_events
        assert row["features_version"] == "none"
    for event_id, row in made.items():
        assert row["rung"] == "degraded" or row == expected[event_id]
    assert lost.state() == from_the_beginning[2]


def test_little_is_waited_for_and_nothing_is_degraded(losing, from_the_beginning):
    lost = losing()
    lost.empty()
    lost.end()
    made, _ = decided(lost.home)
    assert made == from_the_beginning[1]
    assert lost.state() == from_the_beginning[2]


def test_a_snapshot_by_hand_says_where_it_lies(losing):
    lost = losing()
    told = weir("snapshot", directory=lost.home, **lost.settings)
    (file,) = lost.home.glob("snapshots/*.rdb")
    assert told.startswith(f"{file}: {file.stat().st_size:,} bytes")
