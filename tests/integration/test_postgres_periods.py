"""Decisions stand in a partition a month on PostgreSQL, made ahead, whatever times the events claim."""

# ruff: noqa: F811 - pytest's fixtures are asked for by name

import pytest
from sqlalchemy import select, text

from features.events import to_us
from stream.review import database as databases
from stream.review import periods, tables
from stream.review.ledger import Ledger
from tests.contract.ledger_records import decision, on_log, recorder_of
from tests.contract.test_ledger import database, ledger  # noqa: F401 - fixtures
from tests.contract.test_retention import DAY_US, KEEP_US, NOW, ago, kept, let_all_go, wall  # noqa: F401
from tests.integration.postgres import make_database  # noqa: F401

MAY, JUNE, JULY = "decisions_20260501_20260601", "decisions_20260601_20260701", "decisions_20260701_20260801"


def places(ledger):
    """By event: the partition in which its decision stands."""
    with ledger.engine.connect() as db:
        return dict(db.execute(text("SELECT event_id, tableoid::regclass::text FROM decisions")).all())


def partitions(ledger):
    with ledger.engine.connect() as db:
        return [span.name for span in periods.spans(db)]


def claimed(event_id, event_time, arrived_us=None):
    """A decision of an event that claims another time than its arrival's."""
    return decision(
        event_id, event_time=event_time, arrived_us=arrived_us or to_us(NOW), decided_at=NOW.isoformat()
    )


def test_a_months_partition_is_there_before_its_first_decision_and_so_is_the_next(ledger):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", ago("june", 0), ago("may", 20)))
    assert partitions(ledger) == [MAY, JUNE, JULY]
    assert places(ledger) == {"may": MAY, "june": JUNE}


@pytest.mark.parametrize(
    "event_time", ["2099-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00"]
)
def test_a_time_that_is_far_from_its_arrival_makes_no_partition_but_is_kept(ledger, event_time):
    recorder_of(ledger).record(on_log("decisions", claimed("far", event_time)))
    assert places(ledger) == {"far": "decisions_default"}
    assert partitions(ledger) == []
    assert b"far" in ledger.decision("far")


def test_an_arrival_that_claims_another_century_makes_no_partition_either(ledger):
    far = "2099-01-01T00:00:00+00:00"
    recorder_of(ledger).record(on_log("decisions", claimed("far", far, to_us(NOW) + 26_500 * DAY_US)))
    assert places(ledger) == {"far": "decisions_default"}


def test_a_partition_takes_over_what_the_default_one_holds_of_its_month(ledger):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", ago("late", 20, arrived=-20)))
    assert places(ledger) == {"late": "decisions_default"}
    recorder.record(on_log("decisions", ago("may", 20), first=1))
    assert places(ledger) == {"late": MAY, "may": MAY}


def test_no_more_partitions_are_made_than_a_query_can_look_into(ledger, monkeypatch):
    monkeypatch.setattr(periods, "MOST", 3)
    recorder_of(ledger).record(on_log("decisions", *(ago(f"e{back}", back) for back in (400, 300, 200, 0))))
    assert len(partitions(ledger)) == 3
    assert set(places(ledger)) == {"e400", "e300", "e200", "e0"}


def test_weeks_may_follow_on_months(ledger, monkeypatch):
    recorder_of(ledger).record(on_log("decisions", ago("may", 40)))
    monkeypatch.setattr(periods, "PERIOD", "week")
    recorder = recorder_of(Ledger(ledger.engine))
    recorder.record(on_log("decisions", ago("june", 0), ago("july", -20), first=1))
    assert partitions(ledger) == [
        MAY,
        JUNE,
        "decisions_20260701_20260706",
        "decisions_20260706_20260713",
    ]
    assert places(ledger) == {"may": MAY, "june": JUNE, "july": "decisions_20260701_20260706"}


def test_old_months_are_dropped_whole(ledger):
    recorder_of(ledger).record(on_log("decisions", *(ago(f"e{back}", back) for back in (0, 100, 140))))
    let_all_go(ledger)
    assert kept(ledger) == {"e0"}
    assert partitions(ledger) == ["decisions_20260401_20260501", JUNE, JULY]


def test_a_month_that_was_let_go_is_not_made_again(ledger):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", ago("e0", 0)))
    let_all_go(ledger)
    recorder.record(on_log("decisions", ago("replayed", 140), first=1))
    assert places(ledger)["replayed"] == "decisions_default"
    let_all_go(ledger, KEEP_US)
    assert kept(ledger) == {"e0"}


def test_while_somebody_holds_the_table_decisions_are_recorded_and_partitions_made_later(
    ledger,
    monkeypatch,
    caplog,
):
    """A dump that lasts for hours must stop neither the recorder, nor, behind it, every reader."""
    monkeypatch.setattr(databases, "FREE_SECONDS", 0.2)
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", ago("old", 140)))
    before = partitions(ledger)
    with ledger.engine.connect() as dump:
        dump.execute(text("SELECT count(*) FROM decisions"))
        recorder.record(on_log("decisions", ago("june", 0), first=1))
        assert ledger.let_go(KEEP_US) is False
        assert partitions(ledger) == before
        assert places(ledger)["june"] == "decisions_default"
        assert "partitions are made or dropped later" in caplog.text
    recorder.record(on_log("decisions", ago("more", 1), first=2))
    let_all_go(ledger)
    assert places(ledger) == {"june": JUNE, "more": JUNE}


def test_readers_look_into_one_partition_for_an_id(ledger):
    recorder_of(ledger).record(on_log("decisions", *(ago(f"e{back}", back) for back in range(0, 400, 40))))
    query = select(tables.record_of).where(tables.decided.c.event_id == "e80")
    explained = query.compile(ledger.engine, compile_kwargs={"literal_binds": True})
    with ledger.engine.connect() as db:
        plan = db.execute(text(f"EXPLAIN (ANALYZE, COSTS OFF) {explained}")).scalars().all()
    looked = [line for line in plan if " on decisions_" in line and "never executed" not in line]
    assert len(looked) == 1
