"""Learners that die around their checkpoint, and one that stands by: scorers get every model, each label teaches once."""

import json
import signal

import pytest

from stream.embedded.log import Log
from stream.model_keys import TRUSTED_FILE, TrustedKeys
from stream.records import TP
from stream.review.ledger import Ledger
from stream.signing import opened
from tests.acceptance.harness import eventually, rows, stop, weir

pytestmark = pytest.mark.slow


def travelled(home):
    """The numbers on the topic `models`, in order."""
    trusted = TrustedKeys(home / TRUSTED_FILE)
    records = Log(home / "log").fetch({TP("models", 0): 0}, 10_000)
    return [opened(record.value, trusted.key).snapshot.number for record in records]


def newest(home):
    """The newest snapshot in the ledger."""
    ledger = Ledger.open(f"sqlite:///{home}/weir.db")
    try:
        return ledger.newest_snapshot(0)
    finally:
        ledger.close()


@pytest.fixture
def decided(home, started, payments, profile):
    """A directory in which everything is decided and recorded, and nothing learned."""
    workers = [
        started("worker", "--role", role, "--profile", profile, directory=home)
        for role in ("score", "record")
    ]
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    eventually(lambda: len(rows(home, "decisions")) == 6_000, "every event was decided")
    log = Log(home / "log")
    eventually(
        lambda: log.committed("weir-record", "decisions") == log.end_offsets("decisions"), "and recorded"
    )
    stop(workers[0])
    return home


def test_a_learner_killed_between_checkpoint_and_publishing_is_followed_by_one_that_publishes(
    decided, started, profile
):
    command = ("worker", "--role", "learn", "--profile", profile)
    first = started(*command, directory=decided, WEIR_CRASH_AT="learn.committed:2:KILL")
    assert first.wait(60) == -signal.SIGKILL
    assert newest(decided).number == 2
    assert travelled(decided) == [1]
    second = started(*command, directory=decided)
    eventually(lambda: 2 in travelled(decided), "what was committed was published")
    eventually(lambda: newest(decided).learned == 6_000, "the rest is learned, and nothing twice")
    eventually(
        lambda: travelled(decided) == list(range(1, newest(decided).number + 1)), "and published in order"
    )
    stop(second)


def test_one_learner_works_the_other_takes_over_when_it_is_killed(decided, started, profile, payments):
    command = ("worker", "--role", "learn", "--profile", profile)
    first = started(*command, directory=decided)
    eventually(
        lambda: newest(decided) and newest(decided).learned == 6_000, "the first learned all there was"
    )
    second = started(*command, directory=decided)
    stop(first, signal.SIGKILL)
    again = decided / "more.jsonl"
    with payments.open() as whole, again.open("w") as more:
        for line in whole:
            each = json.loads(line)
            more.write(json.dumps({**each, "id": "again-" + each["id"]}) + "\n")
    scorer = started("worker", "--role", "score", "--profile", profile, directory=decided)
    weir("send", again, "--profile", profile, "--label-delay", "2d", directory=decided)
    eventually(lambda: newest(decided).learned == 12_000, "the second goes on where the first one was")
    assert travelled(decided) == list(range(1, newest(decided).number + 1))
    eventually(lambda: rows(decided, "decisions")[-1]["model_version"] != "none", "the scorer used it")
    for each in (second, scorer):
        stop(each)
