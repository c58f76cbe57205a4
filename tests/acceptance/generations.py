"""A Weir that had the profile with one feature more from its beginning, and what others are compared with of it."""

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


@pytest.fixture(scope="session")
def newer(tmp_path_factory, profile):
    """The profile, with one feature more."""
    path = tmp_path_factory.mktemp("newer") / "newer.toml"
    text = profile.read_text()
    assert MORE not in text
    path.write_text(text.replace("declare = [", f'declare = [\n    "{MORE}",', 1))
    assert len(load(path).features.names) == len(load(profile).features.names) + 1
    return path


@pytest.fixture(scope="session")
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
            if key != base + b"p"
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
