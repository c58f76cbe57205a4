"""A worker does not start where it could lose or disorder what it reads, and says what to do."""

import pytest

from stream.readiness import NotReady, refuse_closed_group, refuse_forbidden, refuse_missing, refuse_moved
from stream.review.ledger import Ledger
from stream.review.metrics import readings
from stream.review.outbox import Outbox
from stream.review.partitions import accept, remember
from stream.review.queue import ReviewQueue

NAMES = {name: f"acme.{name}" for name in ("transactions", "labels", "decisions", "alerts", "models")}
NAMES |= {f"{name}.dlq": f"acme.{name}.dlq" for name in ("transactions", "labels")}
ALLOWED = dict.fromkeys(NAMES.values(), ("READ", "WRITE", "DESCRIBE"))


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger.open(f"sqlite:///{tmp_path}/weir.db")
    yield opened
    opened.close()


def test_a_missing_topic_is_named_with_the_command_that_makes_it():
    with pytest.raises(NotReady, match=r"no topic labels on this Kafka.*weir topics create"):
        refuse_missing(["transactions", "labels"], {"transactions": 4})


def test_a_user_that_may_not_write_decisions_is_told_before_anything_is_read():
    with pytest.raises(NotReady, match=r"user weir lacks what the role score needs: WRITE acme.decisions\. "):
        refuse_forbidden("score", NAMES, {**ALLOWED, "acme.decisions": ("DESCRIBE",)}, "weir")


def test_a_learner_must_write_models_and_a_scorer_read_them_unless_one_is_pinned():
    reading = {**ALLOWED, "acme.models": ("READ", "DESCRIBE")}
    refuse_forbidden("score", NAMES, reading, "weir")
    with pytest.raises(NotReady, match=r"the role learn needs: WRITE acme.models\. "):
        refuse_forbidden("learn", NAMES, reading, "weir")
    closed = {**ALLOWED, "acme.models": ("DESCRIBE",)}
    with pytest.raises(NotReady, match=r"the role score needs: READ acme.models\. "):
        refuse_forbidden("score", NAMES, closed, "weir")
    refuse_forbidden("score", NAMES, closed, "weir", pinned=True)


def test_a_scorer_that_converts_must_read_rates_and_nobody_else_must():
    names = {**NAMES, "rates": "acme.rates"}
    closed = {**ALLOWED, "acme.rates": ("DESCRIBE",)}
    with pytest.raises(NotReady, match=r"the role score needs: READ acme.rates\. "):
        refuse_forbidden("score", names, closed, "weir", converts=True)
    refuse_forbidden("score", names, {**closed, "acme.rates": ("READ",)}, "weir", pinned=True, converts=True)
    refuse_forbidden("score", names, closed, "weir")
    refuse_forbidden("learn", names, closed, "weir", converts=True)


def test_a_group_that_the_user_may_not_read_with_is_refused_and_one_that_never_was_is_not():
    refuse_closed_group("weir-score", None, "weir")
    refuse_closed_group("weir-score", ("DESCRIBE", "READ"), "weir")
    for allowed in ((), ("DESCRIBE",)):
        with pytest.raises(NotReady, match=r"may not read with the group weir-score.*ACL"):
            refuse_closed_group("weir-score", allowed, "weir")


@pytest.mark.parametrize("role", ["score", "learn", "record"])
def test_what_is_allowed_or_not_told_is_not_refused(role):
    refuse_forbidden(role, NAMES, ALLOWED, "weir")
    refuse_forbidden(role, NAMES, dict.fromkeys(NAMES.values()), None)


def test_the_partitions_that_the_state_was_made_with_are_remembered_with_it(ledger):
    assert remember(ledger.engine, {"transactions": 4}) == {"transactions": 4}
    assert remember(ledger.engine, {"transactions": 6, "labels": 6}) == {"transactions": 4, "labels": 6}
    accept(ledger.engine, {"transactions": 6})
    assert remember(ledger.engine, {"transactions": 6}) == {"transactions": 6}


def test_a_number_of_partitions_that_changed_unprepared_is_refused_with_the_mend():
    refuse_moved({"transactions": 4}, {"transactions": 4, "labels": 9})
    with pytest.raises(NotReady, match=r"transactions has 6, the state was made with 4.*weir topics grow"):
        refuse_moved({"transactions": 4}, {"transactions": 6})


def test_remembered_partitions_are_no_statistic(ledger):
    remember(ledger.engine, {"transactions": 4})
    queue = ReviewQueue(ledger, bytes)
    names = {reading.name for reading in readings(ledger, queue, Outbox(queue, None, "labels"))}
    assert "weir_events" in names
    assert not [name for name in names if "partitions" in name]
