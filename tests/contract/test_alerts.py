"""The ledger's alerts: each is of its event's first decision, and labels answer it, on every database."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from stream.review import tables
from stream.review.ledger import Ledger
from tests.contract.ledger_records import alert, decision, label, of_alerts, on_log, recorder_of
from tests.contract.test_ledger import database, ledger, make_database  # noqa: F401 - fixtures


def state_of(ledger, event_id):  # noqa: F811
    a = tables.alerts.c
    with ledger.engine.begin() as db:
        found = db.execute(select(a.state, a.settled_by).where(a.event_id == event_id)).one_or_none()
        return found and tuple(found)


STEPS = st.lists(
    st.tuples(st.sampled_from(["alert", "fraud", "legitimate"]), st.sampled_from("abc")), max_size=12
)


@given(steps=STEPS, size=st.integers(1, 5))
@settings(max_examples=15)
def test_statistics_count_each_event_once_whatever_comes_first(make_database, steps, size):  # noqa: F811
    found = Ledger.open(make_database())
    recorder, records = recorder_of(found), []
    newest, alerted = {}, set()
    for number, (kind, event) in enumerate(steps):
        if kind == "alert":
            records += of_alerts(alert(event), first=number)
            alerted.add(event)
        else:
            records += on_log("labels", label(event, kind == "fraud", f"l{number}"), first=number)
            newest[event] = kind == "fraud"
    for start in range(0, len(records), size):
        recorder.record(records[start : start + size])
    counters = found.counters()
    assert counters.get("alerts", 0) == len(alerted)
    assert counters.get("labelled", 0) == len(newest)
    assert counters.get("labelled_fraud", 0) == sum(newest.values())
    assert counters.get("alerts_labelled", 0) == len(alerted & newest.keys())
    assert counters.get("alerts_fraud", 0) == sum(newest[event] for event in alerted & newest.keys())
    for event in alerted:
        assert (state_of(found, event)[0] == "open") == (event not in newest)
    found.close()


def test_an_alert_is_of_the_first_decision_whatever_the_topic_of_alerts_says(ledger):  # noqa: F811
    """Decided anew, by another model, an event may deserve another outcome: the first stands, and its alert."""
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", decision("calm"), decision("odd", outcome="review")))
    recorder.record(on_log("decisions", decision("calm", outcome="review"), decision("odd"), first=2))
    recorder.record(on_log("alerts", alert("calm"), alert("odd")))
    assert state_of(ledger, "calm") is None
    assert state_of(ledger, "odd") == ("open", None)
    assert ledger.counters() == {"events": 2, "repeated": 2, "alerts": 1}


def test_of_two_decisions_in_one_chunk_the_first_says_whether_there_is_an_alert(ledger):  # noqa: F811
    recorder = recorder_of(ledger)
    made = [
        decision("e1"),
        decision("e1", outcome="review"),
        decision("e2", outcome="review"),
        decision("e2"),
    ]
    recorder.record(on_log("decisions", *made))
    assert (state_of(ledger, "e1"), state_of(ledger, "e2")) == (None, ("open", None))


@pytest.mark.parametrize("order", ["alert first", "label first", "together"])
def test_a_label_from_elsewhere_answers_the_alert_of_its_event(ledger, order):  # noqa: F811
    recorder, alerts, labels = (
        recorder_of(ledger),
        of_alerts(alert("e1")),
        on_log("labels", label("e1")),
    )
    chunks = {"alert first": [alerts, labels], "label first": [labels, alerts], "together": [labels + alerts]}
    for chunk in chunks[order]:
        recorder.record(chunk)
    assert state_of(ledger, "e1") == ("fraud", "chargeback")


def test_a_later_label_changes_the_statistics_but_not_who_settled_the_alert(ledger):  # noqa: F811
    recorder = recorder_of(ledger)
    recorder.record([*of_alerts(alert("e1")), *on_log("labels", label("e1", fraud=True))])
    recorder.record(on_log("labels", label("e1", fraud=False, label_id="l2", source="bank"), first=1))
    assert state_of(ledger, "e1") == ("fraud", "chargeback")
    assert ledger.counters()["alerts_fraud"] == 0
