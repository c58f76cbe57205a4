"""A copy of the tables fills another database with the same, whichever kind it is, and verdicts go on behind what is lost."""

import msgspec
import pytest
from sqlalchemy import insert, select

from features.events import Label
from stream.records import TP, Record
from stream.review import copying
from stream.review import tables as t
from stream.review.ledger import Ledger
from stream.review.queue import FORGOTTEN, ReviewQueue
from tests.contract.ledger_records import (
    NOON_US,
    SEALER,
    alert,
    dead_letter,
    decision,
    label,
    of_alerts,
    on_log,
    recorder_of,
    snapshot,
)
from tests.contract.test_ledger import database, ledger, make_database  # noqa: F401 - fixtures

EVENTS = 1_500


@pytest.fixture
def filled(ledger):  # noqa: F811
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", *(decision(f"e{at}") for at in range(EVENTS) if at not in (1, 2))))
    recorder.record(of_alerts(alert("e1"), alert("e2")))
    recorder.record(on_log("labels", label("e3"), label("e2", fraud=False)))
    recorder.record([dead_letter()])
    said = [
        Label(event_id=f"e{at}", label_id=f"s{at}", fraud=True, source="s", arrived_us=NOON_US)
        for at in range(EVENTS)
    ]
    ledger.decision_log(("amount",)).checkpoint(snapshot(1), {TP("labels", 0): 2}, said, said)
    gone = [
        {"alert_id": f"alert-e{at}", "event_id": f"e{at}", "fraud": True, "arrived_us": 1, "sent": True}
        for at in range(10, EVENTS)
    ]
    with ledger.engine.begin() as db:
        db.execute(insert(t.outbox), gone)
    return ledger


@pytest.fixture
def other(make_database):  # noqa: F811
    made = Ledger.open(make_database())
    yield made
    made.close()


def copy_of(ledger):  # noqa: F811
    with copying.at_one_moment(ledger.engine) as db:
        return copying.about(db), [(name, list(columns), rows) for name, columns, rows in copying.rows(db)]


def all_of(ledger, but=()):  # noqa: F811
    with ledger.engine.connect() as db:
        return {
            table.name: [tuple(row) for row in db.execute(select(table).order_by(*table.primary_key))]
            for table in copying.copied_tables()
            if table.name not in but
        }


def test_a_copy_fills_another_database_with_the_same(filled, other):
    about, rows = copy_of(filled)
    assert about.positions["record"] == {
        "decisions/0": EVENTS - 2, "decisions/1": 2, "labels/0": 2, "transactions.dlq/0": 1
    }  # fmt: skip
    assert about.positions["learn"] == {"labels/0": 2}
    assert copying.is_empty(other.engine)
    copying.make_room(other.engine, rows)
    copying.fill(other.engine, rows)
    assert not copying.is_empty(other.engine)
    assert all_of(other, but=("outbox",)) == all_of(filled, but=("outbox",))
    copying.fill(other.engine, rows)  # in the place of what is there
    assert all_of(other, but=("outbox",)) == all_of(filled, but=("outbox",))


def test_a_copy_is_of_one_moment(filled):
    with copying.at_one_moment(filled.engine) as db:
        copying.about(db)
        recorder_of(filled).record(on_log("decisions", decision("late"), first=EVENTS))
        copied = {name: len(rows) for name, _, rows in copying.rows(db) if name == "decisions"}
        found = [row for name, _, rows in copying.rows(db) if name == "decisions" for row in rows]
    assert copied
    assert len(found) == EVENTS


def test_a_verdict_after_a_restore_takes_back_the_one_that_was_forgotten(filled, other):
    _, rows = copy_of(filled)
    queue = ReviewQueue(filled, SEALER.open)
    queue.give("alert-e1", "fraud")
    ((_, said),) = queue.unsent()
    first = msgspec.json.decode(said.value)

    copying.fill(other.engine, rows)
    recorder_of(other).record(
        [Record("labels", 0, 2, said.key, said.value, said.headers, 5)]
    )  # it catches up
    restored = ReviewQueue(other, SEALER.open)
    restored.give("alert-e1", "legitimate")
    ((number, again),) = restored.unsent()
    second = msgspec.json.decode(again.value)
    assert number == EVENTS - 10 + FORGOTTEN + 1
    assert second["label_id"] != first["label_id"]
    assert second["reverses"] == first["label_id"]
    restored.give("alert-e1", "fraud")
    third = msgspec.json.decode(restored.unsent()[1][1].value)
    assert third["reverses"] == second["label_id"]
    with other.engine.connect() as db:
        assert {number - 1, number, number + 1} <= set(db.execute(select(t.outbox.c.number)).scalars())


def test_a_verdict_that_comes_back_from_the_log_settles_what_a_file_settled_before(filled, other):
    """As it did when it was given, though the file's label may come before or after it, in one chunk or in two."""
    _, rows = copy_of(filled)
    chargeback = label("e2", label_id="later")
    queue = ReviewQueue(filled, SEALER.open)
    queue.give("alert-e2", "fraud")
    queue.give("alert-e1", "legitimate")
    said = [record.value for _, record in queue.unsent()]
    records = [Record("labels", 0, 2 + at, b"key", value, ON_TIME, 5) for at, value in enumerate(said)]
    recorder_of(filled).record([*records, *on_log("labels", chargeback, first=4)])
    copying.fill(other.engine, rows)
    recorder = recorder_of(other)
    recorder.record([*records[:1]])
    recorder.record([*records[1:], *on_log("labels", chargeback, first=4)])
    assert {row[:2] for row in settled(other)} == {("alert-e1", "legitimate"), ("alert-e2", "fraud")}
    assert settled(other) == settled(filled)


ON_TIME = (("arrived", b"4000000000000000"),)


def settled(ledger):  # noqa: F811
    a = t.alerts.c
    with ledger.engine.connect() as db:
        return {tuple(row) for row in db.execute(select(a.alert_id, a.state, a.settled_by))}
