"""Old decisions are let go with their ids, a bounded piece at a time, on every database."""

# ruff: noqa: F811 - pytest's fixtures are asked for by name

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from features.events import to_us
from stream.record import TIDY_SECONDS
from stream.records import TP
from stream.review import ledger as ledgers
from stream.review import retention, tables
from stream.review.queue import ReviewQueue
from tests.contract.ledger_records import (
    NAMES,
    SEALER,
    decision,
    label,
    on_log,
    recorder_of,
)
from tests.contract.test_ledger import database, ledger, make_database  # noqa: F401 - fixtures

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY_US = 86_400_000_000
KEEP_US = 60 * DAY_US  # of June 15th: what is from before April


@pytest.fixture(autouse=True)
def wall(monkeypatch):
    """The clock on the wall."""
    monkeypatch.setattr(ledgers, "now_us", lambda: to_us(NOW))


def ago(event_id, days, *, arrived=None, **more):
    """A decision of so many days ago."""
    at, came = NOW - timedelta(days=days), NOW - timedelta(days=days if arrived is None else arrived)
    return decision(
        event_id,
        event_time=at.isoformat(),
        arrived_us=to_us(came),
        decided_at=came.isoformat(),
        **more,
    )


def let_all_go(ledger, keep_us=KEEP_US):
    """How many steps it took."""
    steps = 1
    while ledger.let_go(keep_us):
        steps += 1
    return steps


def kept(ledger):
    """The ids of the decisions that are kept, which are those that are remembered."""
    with ledger.engine.connect() as db:
        decisions = set(db.execute(select(tables.decisions.c.event_id)).scalars())
        remembered = set(db.execute(select(tables.decided.c.event_id)).scalars())
    assert decisions == remembered
    return decisions


def test_decisions_of_months_that_are_wholly_too_old_are_let_go_with_their_ids(ledger):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", *(ago(f"e{days}", days) for days in (0, 40, 74, 76, 110, 140))))
    let_all_go(ledger)
    assert kept(ledger) == {"e0", "e40", "e74"}
    assert ledger.decision("e76") is None
    assert ledger.positions("record") == {TP("decisions", 0): 6}
    again = recorder.record(on_log("decisions", ago("e74", 74), ago("e76", 76), first=6))
    assert (again["events"], again["repeated"]) == (1, 1)


def test_a_decision_whose_case_is_open_stays_until_it_is_closed(ledger):
    recorder, queue = recorder_of(ledger), ReviewQueue(ledger, SEALER.open)
    recorder.record(
        on_log(
            "decisions", *(ago(name, 100, outcome="review") for name in ("open", "closed")), ago("none", 100)
        )
    )
    recorder.record(on_log("labels", label("closed")))
    let_all_go(ledger)
    assert kept(ledger) == {"open"}
    assert queue.case("alert-open").decision.event_id == "open"
    assert queue.case("alert-closed").decision is None
    assert ledger.decision_log(NAMES).logged(["open", "closed"]).keys() == {"open"}
    queue.give("alert-open", "fraud")
    let_all_go(ledger)
    assert kept(ledger) == set()


def test_an_old_event_that_came_late_stays_as_long_as_one_that_came_in_time(ledger):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", ago("old", 100), ago("late", 100, arrived=3)))
    let_all_go(ledger)
    assert kept(ledger) == {"late"}
    assert recorder.record(on_log("decisions", ago("late", 100, arrived=3), first=2))["repeated"] == 1


def test_one_transaction_deletes_a_bounded_number_of_rows(ledger, monkeypatch):
    monkeypatch.setattr(retention, "ROWS", 10)
    far = datetime(1960, 1, 1, tzinfo=UTC).isoformat()  # in no month's partition
    chunk = on_log("decisions", *(decision(f"e{number}", event_time=far) for number in range(35)))
    recorder_of(ledger).record(chunk)
    left = []
    while ledger.let_go(KEEP_US):
        left.append(len(kept(ledger)))
    assert left == [25, 15, 5]
    assert kept(ledger) == set()


@pytest.mark.parametrize("arrival", [datetime(2099, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)])
def test_one_arrival_from_another_century_does_not_empty_the_ledger(ledger, arrival):
    strange = decision(
        "strange", event_time=arrival.isoformat(), arrived_us=to_us(arrival), decided_at=NOW.isoformat()
    )
    recorder_of(ledger).record(on_log("decisions", ago("e3", 3), strange))
    let_all_go(ledger)
    assert {"e3", "strange"} <= kept(ledger)


def test_the_age_of_a_history_is_told_by_its_own_clock(ledger):
    """It is recorded today, but its newest event arrived in 2018: nothing is older than what that says."""
    at = datetime(2018, 6, 15, tzinfo=UTC)
    days = [at - timedelta(days=back) for back in (200, 10, 0)]
    chunk = [
        decision(f"{day:%m%d}", event_time=day.isoformat(), arrived_us=to_us(day), decided_at=NOW.isoformat())
        for day in days
    ]
    recorder_of(ledger).record(on_log("decisions", *chunk))
    let_all_go(ledger)
    assert kept(ledger) == {"0605", "0615"}


def test_the_recorder_lets_go_now_and_then_and_while_there_is_more_with_every_chunk(ledger, monkeypatch):
    monkeypatch.setattr(retention, "ROWS", 1)
    seconds = [1.0]
    recorder = recorder_of(ledger, keep_us=KEEP_US, clock=lambda: seconds[0])
    old = [ago(f"e{number}", 30_000) for number in range(3)]  # in no month's partition
    recorder.record(on_log("decisions", *old, ago("new", 0)))
    assert kept(ledger) == {"e1", "e2", "new"}
    for number in range(3):
        recorder.record(on_log("decisions", ago(f"n{number}", 0), first=4 + number))
    assert kept(ledger) == {"new", "n0", "n1", "n2"}
    recorder.record(on_log("decisions", ago("e4", 30_000), first=7))
    assert "e4" in kept(ledger)
    seconds[0] += TIDY_SECONDS
    recorder.record(on_log("decisions", ago("n3", 0), first=8))
    assert "e4" not in kept(ledger)


def test_without_a_limit_everything_is_kept(ledger):
    recorder_of(ledger).record(on_log("decisions", ago("e900", 900), ago("e0", 0)))
    assert kept(ledger) == {"e900", "e0"}
