"""Alerts wait for a person; a verdict closes one and leaves a label in the outbox, in one transaction."""

import threading
import time

import msgspec
import pytest
from sqlalchemy import event

from features.events import Label
from stream.codec import Codec
from stream.records import ARRIVED, Record
from stream.review.queue import NoSuchAlert, QueueError
from tests.contract.ledger_records import NOON_US, PROFILE, alert, decision, label, of_alerts, on_log

YEAR_US = 365 * 86_400_000_000


@pytest.fixture
def alerted(recorder):
    """Three alerts, and the decisions that they are of."""
    alerts = [alert("e1", score=0.7), alert("e2", score=0.9), alert("e3", score=0.7, arrived_us=NOON_US + 1)]
    recorder.record(of_alerts(*alerts, key=b"card-1"))


def ids(cases):
    return [case.alert.event_id for case in cases]


def sent_labels(queue):
    return [msgspec.json.decode(record.value) for _, record in queue.unsent()]


def test_open_alerts_come_by_score_and_the_newest_first_among_equals(queue, alerted):
    assert ids(queue.alerts()) == ["e2", "e3", "e1"]
    assert ids(queue.alerts(limit=1)) == ["e2"]


def test_a_case_holds_the_whole_decision(queue, alerted):
    case = queue.case("alert-e1")
    assert (case.state, case.settled_by) == ("open", None)
    assert case.decision.features == {"amount": 12.5, "count": None}
    assert queue.case("alert-e9") is None


def test_a_verdict_closes_the_alert_and_leaves_one_label_in_the_outbox(queue, alerted):
    queue.give("alert-e1", "fraud")
    queue.give("alert-e1", "fraud")
    assert ids(queue.alerts()) == ["e2", "e3"]
    assert ids(queue.alerts(state="fraud")) == ["e1"]
    assert queue.case("alert-e1").settled_by == "analyst"
    (said,) = sent_labels(queue)
    assert (said["event_id"], said["label"], said["source"]) == ("e1", "fraud", "analyst")
    assert said["label_id"] == "verdict-1-alert-e1"
    assert "reverses" not in said or said["reverses"] is None


def test_another_verdict_takes_the_first_one_back(queue, alerted):
    for verdict in ("fraud", "legitimate", "fraud"):
        queue.give("alert-e1", verdict)
    first, second, third = sent_labels(queue)
    assert second["reverses"] == first["label_id"]
    assert third["reverses"] == second["label_id"]
    assert [each["label"] for each in (first, second, third)] == ["fraud", "legitimate", "fraud"]


def test_an_analyst_may_confirm_what_another_source_said(queue, recorder, alerted):
    recorder.record(on_log("labels", label("e1")))
    assert queue.case("alert-e1").settled_by == "chargeback"
    queue.give("alert-e1", "fraud")
    assert queue.case("alert-e1").settled_by == "analyst"
    assert len(queue.unsent()) == 1


def test_what_is_no_verdict_or_no_alert_is_refused_and_changes_nothing(queue, alerted):
    with pytest.raises(QueueError, match="'perhaps' is neither"):
        queue.give("alert-e1", "perhaps")
    with pytest.raises(NoSuchAlert, match="'alert-e9'"):
        queue.give("alert-e9", "fraud")
    assert queue.unsent() == []


def test_when_the_transaction_fails_the_alert_stays_open_and_no_label_is_left(queue, ledger, alerted):
    def fail(_):
        raise OSError("the disk is full")

    event.listen(ledger.engine, "commit", fail)
    with pytest.raises(OSError, match="disk"):
        queue.give("alert-e1", "fraud")
    event.remove(ledger.engine, "commit", fail)
    assert queue.case("alert-e1").state == "open"
    assert queue.unsent() == []


def test_a_verdict_whose_label_cannot_be_kept_leaves_the_alert_open(queue, ledger, alerted):
    def fail(connection, cursor, statement, *_):
        if statement.startswith("INSERT INTO outbox"):
            raise OSError("the disk is full")

    event.listen(ledger.engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="disk"):
        queue.give("alert-e1", "fraud")
    event.remove(ledger.engine, "before_cursor_execute", fail)
    assert queue.case("alert-e1").state == "open"


def test_two_analysts_at_once_leave_a_chain_and_no_fork(queue, alerted):
    threads = [
        threading.Thread(target=queue.give, args=("alert-e1", verdict)) for verdict in ("fraud", "legitimate")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = sent_labels(queue)
    assert second["reverses"] == first["label_id"]


def as_record(outgoing):
    return Record("labels", 0, 0, outgoing.key, outgoing.value, outgoing.headers, 0)


def test_the_label_is_one_that_the_score_role_reads_keyed_as_its_event(queue, alerted):
    before = time.time_ns() // 1000
    queue.give("alert-e2", "legitimate")
    ((_, outgoing),) = queue.unsent()
    read = Codec(PROFILE).decode(as_record(outgoing))
    assert isinstance(read, Label), read
    assert (read.event_id, read.fraud) == ("e2", False)
    assert read.arrived_us >= before
    assert outgoing.key == b"card-1"


def test_in_a_simulation_the_verdict_arrives_at_the_streams_own_time(queue, recorder, alerted):
    then = NOON_US - 9 * YEAR_US
    recorder.record(on_log("decisions", decision("e7", arrived_us=then), first=1))
    queue.give("alert-e2", "fraud")
    ((_, outgoing),) = queue.unsent()
    assert dict(outgoing.headers)[ARRIVED] == b"%d" % then
    read = Codec(PROFILE).decode(as_record(outgoing))
    assert isinstance(read, Label), f"labelled after its arrival? {read}"


def test_statistics_say_how_much_better_than_chance_an_alert_is(queue, recorder, alerted):
    empty = queue.statistics()
    assert (empty.fraud_rate, empty.alert_precision, empty.lift) == (None, None, None)
    said = [
        label("e1", True),
        label("e2", False),
        *(label(f"x{n}", False) for n in range(7)),
        label("y", True),
    ]
    recorder.record(on_log("labels", *said))
    found = queue.statistics()
    assert (found.events, found.alerts, found.open, found.labelled) == (3, 3, 1, 10)
    assert found.fraud_rate == 0.2
    assert found.alert_precision == 0.5
    assert found.lift == 2.5


def test_without_any_fraud_there_is_no_lift(queue, recorder, alerted):
    recorder.record(on_log("labels", label("e1", False)))
    assert queue.statistics().lift is None
