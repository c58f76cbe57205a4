"""A generation of features that is filled beside the live one ends as if it had been there from the beginning."""

import random
import shutil
import signal
import time

import msgspec
import pytest

from features import redis_copy
from features.profile import load
from features.redis_generations import RedisLive
from features.redis_store import base_key
from stream.embedded.server import ValkeyServer
from stream.filling import HISTORY
from tests.acceptance.harness import eventually, first_by_id, log_of, rows, start, stop, weir

EVENTS = 6_000
MORE = "mean amount by merchant over 7d"
"""What the new profile declares besides."""


@pytest.fixture(scope="module")
def newer(tmp_path_factory, profile):
    """The profile, with one feature more."""
    path = tmp_path_factory.mktemp("newer") / "newer.toml"
    text = profile.read_text()
    assert MORE not in text
    path.write_text(text.replace("declare = [", f'declare = [\n    "{MORE}",', 1))
    assert len(load(path).features.names) == len(load(profile).features.names) + 1
    return path


@pytest.fixture(scope="module")
def from_the_beginning(tmp_path_factory, payments, newer):
    """A Weir that had the new profile always: its directory, its decisions, and all that its store holds."""
    home = tmp_path_factory.mktemp("always") / "weir"
    weir("send", payments, "--profile", newer, "--label-delay", "2d", directory=home)
    decide_all(home, newer)
    return home, first_by_id(rows(home, "decisions")), state(home, newer)


def decide_all(home, profile):
    """Run a worker until it has decided and committed all there is."""
    worker = start("worker", "--role", "score", "--profile", profile, directory=home)
    try:
        eventually(lambda: done(home), "all is decided", 180)
    finally:
        stop(worker)


def done(home):
    log = log_of(home)
    return log.end_offsets("decisions").get(0, 0) >= EVENTS and all(
        log.committed("weir-score", topic) == log.end_offsets(topic) for topic in ("transactions", "labels")
    )


def state(home, profile):
    """All keys of the profile's generation in a Weir's own Redis, which does not run; how far it holds a file left out."""
    server = ValkeyServer(home / "redis")
    base = base_key("weir:", load(profile).features)
    url = server.start()
    try:
        return {
            key: held
            if not key.endswith(b"}p")
            else [each for each in held if not each[0].startswith(HISTORY.encode())]
            for some in redis_copy.entries(url, base.decode())
            for key, _, held in some
        }
    finally:
        server.stop()


def live(home):
    """The live generation of a Weir whose Redis does not run."""
    server = ValkeyServer(home / "redis")
    try:
        return RedisLive(server.start(), "weir:").read()
    finally:
        server.stop()


@pytest.fixture
def beside(home, from_the_beginning, profile, payments):
    """A Weir of the same keys whose worker has decided everything with the old profile."""
    shutil.copytree(from_the_beginning[0] / "keys", home / "keys")
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    decide_all(home, profile)
    return home


def test_what_is_filled_from_the_log_is_what_would_have_been_there_and_what_is_live_stays_as_it_is(
    beside, from_the_beginning, profile, newer
):
    old = state(beside, profile)
    told = msgspec.json.decode(weir("prime", "--profile", newer, "--json", directory=beside))
    assert told["records"] == sum(
        log_of(beside).end_offsets(topic)[0] for topic in ("transactions", "labels")
    )
    assert told["live"]
    assert state(beside, newer) == from_the_beginning[2]
    assert state(beside, profile) == old
    assert live(beside).version == load(newer).features_version


def test_a_filler_that_is_killed_goes_on_where_it_was(beside, from_the_beginning, newer):
    seed = random.randrange(2**32)
    chance, cut = random.Random(seed), 0
    for _ in range(3):
        filler = start("prime", "--profile", newer, "--no-swap", directory=beside)
        time.sleep(chance.uniform(1.0, 2.2))
        cut += filler.is_running() and filler.status() != "zombie"
        stop(filler, signal.SIGKILL)
    assert cut, f"the kills came too late to cut anything off (seed {seed})"
    weir("prime", "--profile", newer, directory=beside)
    assert state(beside, newer) == from_the_beginning[2], f"seed {seed}"


def test_history_from_a_file_is_what_the_log_would_have_told(home, from_the_beginning, payments, newer):
    """And what the log tells once more counts no second time."""
    shutil.copytree(from_the_beginning[0] / "keys", home / "keys")
    flags = ("--profile", newer, "--label-delay", "2d")
    told = msgspec.json.decode(weir("prime", payments, *flags, "--json", directory=home))
    assert (told["rows"], told["records"], told["live"]) == (EVENTS, 0, True)
    primed = state(home, newer)
    for key, held in from_the_beginning[2].items():
        assert primed[key] == held or key.endswith(b"}p")
    weir("send", payments, *flags, directory=home)
    weir("prime", payments, *flags, directory=home)
    assert state(home, newer) == from_the_beginning[2]


def test_history_does_not_come_behind_what_was_decided(beside, payments, profile):
    with pytest.raises(AssertionError, match="holds events already, and history comes first"):
        weir("prime", payments, "--profile", profile, directory=beside)
