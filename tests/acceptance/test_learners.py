"""Learners that die around their checkpoint, and one that stands by: scorers get every model, each label teaches once."""

import json
import signal

import pytest
from sqlalchemy import func, select

from stream.embedded.log import Log
from stream.model_keys import TRUSTED_FILE, TrustedKeys
from stream.records import TP
from stream.review import tables
from stream.review.ledger import Ledger
from stream.signing import opened
from tests.acceptance.harness import eventually, rows, stop, weir

pytestmark = pytest.mark.slow

LONG = 180.0
"""Seconds for thousands of labels on a busy machine."""


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


def in_order_up_to_the_newest(home):
    """Whether what stands on the topic (the log lets go of older ones) is numbered without a gap or a repetition."""
    numbers, last = travelled(home), newest(home).number
    return numbers == list(range(last - len(numbers) + 1, last + 1))


def due(home):
    """How many labels the stream's clock has reached: what a learner that is done has learned."""
    ledger = Ledger.open(f"sqlite:///{home}/weir.db")
    clock = select(func.max(tables.decisions.c.arrived_us)).scalar_subquery()
    query = select(func.count()).where(tables.labels.c.arrived_us <= clock)
    with ledger.engine.connect() as db:
        count = db.execute(query).scalar()
    ledger.close()
    return count


def labels_recorded(home):
    """How many events have a label in the ledger."""
    ledger = Ledger.open(f"sqlite:///{home}/weir.db")
    try:
        return ledger.counters().get("labelled", 0)
    finally:
        ledger.close()


def all_learned(home):
    """Whether the newest snapshot knows every label that is due, each once."""
    snapshot = newest(home)
    return snapshot is not None and snapshot.learned == due(home)


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
    eventually(lambda: all_learned(decided), "the rest is learned, and nothing twice", LONG)
    eventually(lambda: in_order_up_to_the_newest(decided), "and published in order")
    stop(second)


def test_one_learner_works_the_other_takes_over_when_it_is_killed(decided, started, profile, payments):
    command = ("worker", "--role", "learn", "--profile", profile)
    first = started(*command, directory=decided)
    eventually(lambda: all_learned(decided), "the first learned all there was", LONG)
    before = newest(decided).learned
    second = started(*command, directory=decided)
    stop(first, signal.SIGKILL)
    again = decided / "more.jsonl"
    with payments.open() as whole, again.open("w") as more:
        for line in whole:
            each = json.loads(line)
            more.write(json.dumps({**each, "id": "again-" + each["id"]}) + "\n")
    scorer = started("worker", "--role", "score", "--profile", profile, directory=decided)
    weir("send", again, "--profile", profile, "--label-delay", "2d", directory=decided)
    eventually(lambda: labels_recorded(decided) == 12_000, "all labels are recorded", LONG)
    eventually(lambda: all_learned(decided), "the second goes on where the first one was", LONG)
    assert newest(decided).learned > before
    eventually(lambda: in_order_up_to_the_newest(decided), "and all was published in order")
    eventually(lambda: rows(decided, "decisions")[-1]["model_version"] != "none", "the scorer used it")
    for each in (second, scorer):
        stop(each)
