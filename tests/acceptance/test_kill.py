"""Kill the worker in mid-chunk, at random: nothing is lost, and every decision is that of a run left alone."""

import os
import random
import shutil
import signal
import time

import pytest

from tests.acceptance.harness import eventually, first_by_id, log_of, rows, start, stop, weir

STOPS = int(os.environ.get("WEIR_TEST_STOPS", "3"))
"""Stops of each kind; `.ci/run` makes it ten."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, payments, profile, model):
    """What a worker decides that nobody disturbs."""
    home = tmp_path_factory.mktemp("undisturbed") / "weir"
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    worker = start("worker", "--role", "score", "--profile", profile, "--model", model, directory=home)
    try:
        eventually(lambda: decisions(home) >= 6_000, "every event was decided")
    finally:
        stop(worker)
    return home, first_by_id(rows(home, "decisions"))


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="SIGKILL"),
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),
    ],
)
def test_stopping_the_worker_at_random_loses_nothing_and_changes_no_decision(
    home, payments, profile, model, undisturbed, number
):
    """The worker's Redis is its own child, which the kill takes down too; what it acknowledged is on its disk."""
    before_home, expected = undisturbed
    shutil.copytree(before_home / "keys", home / "keys")  # so that the pseudonyms are the same
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    cut = 0
    for _ in range(STOPS):
        worker = start("worker", "--role", "score", "--profile", profile, "--model", model, directory=home)
        decided_after(home, decisions(home))
        time.sleep(chance.uniform(0.0, 0.08))
        stop(worker, number)
        cut += not done(home)
    worker = start("worker", "--role", "score", "--profile", profile, "--model", model, directory=home)
    try:
        eventually(lambda: done(home), f"the rest is decided (seed {seed})", 180)
    finally:
        stop(worker)
    assert cut >= STOPS // 3, "the stops came too late to stop anything"
    assert first_by_id(rows(home, "decisions")) == expected, f"seed {seed}"


def decided_after(home, count):
    """Wait until there are more decisions than so many, or there is nothing left to decide."""
    eventually(lambda: decisions(home) > count or done(home), "the worker decides", 180, pause=0.005)


def decisions(home):
    """How many decisions are on the log."""
    return log_of(home).end_offsets("decisions")[0]


def done(home):
    """Whether the worker has committed all there is."""
    log = log_of(home)
    return all(
        log.committed("weir-score", topic) == log.end_offsets(topic) for topic in ("transactions", "labels")
    )
