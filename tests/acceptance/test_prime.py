"""A generation of features that is filled beside the live one ends as if it had been there from the beginning."""

import random
import shutil
import signal
import time

import msgspec
import pytest

from features.profile import load
from tests.acceptance.generations import EVENTS, decide_all, live, state
from tests.acceptance.harness import log_of, start, stop, weir


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
