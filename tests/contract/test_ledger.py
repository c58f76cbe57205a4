"""The ledger: every record counts once, with its offset in the same transaction, on every database."""

import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from features.events import Label
from models.base import SEQUENCE
from stream.envelope import Envelopes
from stream.keyring import Opener
from stream.lease import LeaseLost
from stream.letters import AsItCame, as_it_came
from stream.records import TP
from stream.review import learning, tables
from stream.review.leases import refuse_zombie
from stream.review.ledger import Ledger, LedgerError
from stream.wire import encode
from tests.contract import dying_recorder
from tests.contract.ledger_records import (
    NAMES,
    NOON,
    NOON_US,
    SEALER,
    dead_letter,
    decision,
    label,
    on_log,
    recorder_of,
    snapshot,
)

DAY_US = 86_400_000_000


@pytest.fixture(scope="session")
def make_database(tmp_path_factory):
    """A maker of URLs of empty databases of one kind."""
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('ledger')}/deep/weir.db"


@pytest.fixture
def database(make_database):
    return make_database()


@pytest.fixture
def ledger(database):
    found = Ledger.open(database)
    yield found
    found.close()


# --- the recorder's side


def test_a_decision_is_kept_whole_as_it_came_and_the_first_of_an_id_wins(ledger):
    recorder = recorder_of(ledger)
    first, second = decision(score=0.9), decision(score=0.1)
    recorder.record(on_log("decisions", first, second, decision("e2")))
    recorder.record(on_log("decisions", decision(score=0.2), first=3))
    assert ledger.decision("e1") == encode(first)
    assert ledger.counters() == {"events": 2, "repeated": 2}


def test_an_id_with_another_body_is_counted_as_a_conflict_in_one_chunk_or_two(ledger):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", decision(body="aa"), decision(body="bb")))
    assert ledger.counters()["conflicts"] == 1
    recorder.record(on_log("decisions", decision(body="cc"), decision(body="aa"), first=2))
    assert ledger.counters()["conflicts"] == 2


@pytest.mark.parametrize("apart", [False, True])
def test_the_first_of_an_id_wins_whatever_event_time_a_later_one_carries(ledger, apart):
    recorder = recorder_of(ledger)
    first, later = decision(), decision(event_time="2026-05-05T05:05:05+00:00", score=0.1)
    for chunk in ([first], [later]) if apart else ([first, later],):
        recorder.record(on_log("decisions", *chunk, first=int(chunk == [later])))
    assert ledger.decision("e1") == encode(first)
    assert ledger.counters() == {"events": 1, "repeated": 1}
    assert ledger.decision_log(NAMES).logged(["e1"]).keys() == {"e1"}


def test_records_below_the_stored_offsets_were_written_before(ledger):
    chunk = on_log("decisions", decision("e1"), decision("e2"))
    recorder_of(ledger).record(chunk)
    assert recorder_of(Ledger(ledger.engine)).record(chunk) == {}
    assert ledger.positions("record") == {TP("decisions", 0): 2}
    assert ledger.counters()["events"] == 2


def test_a_recorder_that_was_thought_dead_takes_no_position_back(ledger):
    asleep = recorder_of(ledger)
    chunk = on_log("decisions", *(decision(f"e{number}") for number in range(10)))
    recorder_of(ledger).record(chunk)
    asleep.record(chunk[:3])
    assert ledger.positions("record") == {TP("decisions", 0): 10}
    assert ledger.counters() == {"events": 10, "repeated": 3}


def test_recorders_of_several_partitions_write_side_by_side(ledger):
    """On Kafka there may be as many recorders as partitions; their decisions get different numbers."""
    faults = []

    def run(part):
        recorder = recorder_of(ledger)
        chunk = on_log("decisions", *(decision(f"{part}-{number}") for number in range(60)), part=part)
        try:
            for record in chunk:
                recorder.record([record])
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            faults.append(error)

    threads = [threading.Thread(target=run, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert ledger.counters() == {"events": 180}


def test_when_the_transaction_fails_neither_the_rows_nor_the_offsets_are_there(ledger):
    chunk = on_log("decisions", decision("e1"))
    recorder = recorder_of(ledger)
    with ledger.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE positions")
    with pytest.raises(Exception, match="positions"):
        recorder.record(chunk)
    tables.metadata.create_all(ledger.engine)
    assert ledger.decision("e1") is None
    recorder.record(chunk)
    assert ledger.decision("e1") is not None


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 2)])
def test_a_kill_around_the_commit_is_harmless_since_the_chunk_comes_again(database, ledger, when, kept):
    """Killed before: nothing is there. Killed after, with the log's offset not committed: nothing counts twice."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.dying_recorder", database, when],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert ledger.counters().get("events", 0) == kept
    recorder_of(ledger).record(dying_recorder.chunk())
    assert ledger.counters() == {
        "events": 2,
        "alerts": 1,
        "labelled": 1,
        "labelled_fraud": 1,
        "alerts_labelled": 1,
        "alerts_fraud": 1,
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (NOON, datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("2026-01-01T12:00:00.000001+00:00", datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)),
        ("2026-01-01T13:30:00.1+01:30", datetime(2026, 1, 1, 12, 0, 0, 100_000, tzinfo=UTC)),
        ("1969-12-31T23:59:59.999999Z", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("0001-01-02T00:00:00+00:00", datetime(1, 1, 2, tzinfo=UTC)),
        ("9999-12-30T23:59:59.999999+00:00", datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_an_events_time_is_kept_to_the_microsecond(ledger, written, meant):
    recorder_of(ledger).record(on_log("decisions", decision("e1", event_time=written), decision("e2")))
    i, d = tables.decided.c, tables.decisions.c
    query = select(i.event_time, d.event_time.label("there")).where(tables.same, i.event_id == "e1")
    with ledger.engine.connect() as db:
        found = db.execute(query).one()
        assert db.execute(select(i.event_id).where(i.event_time == meant)).scalars().all()[:1] == ["e1"]
    assert {when if when.tzinfo else when.replace(tzinfo=UTC) for when in found} == {meant}


def test_decisions_are_numbered_in_the_order_in_which_they_came(ledger):
    recorder, names = recorder_of(ledger), [f"e{number * 7919 % 1009}" for number in range(700)]
    for at in (0, 350):
        recorder.record(on_log("decisions", *map(decision, names[at : at + 350]), first=at))
    d = tables.decisions.c
    with ledger.engine.connect() as db:
        assert db.execute(select(d.number, d.event_id).order_by(d.number)).all() == [*enumerate(names, 1)]


def test_what_comes_again_among_much_that_is_new_changes_nothing(ledger):
    recorder = recorder_of(ledger)
    old = [decision(f"e{number}", score=0.1) for number in range(0, 1_200, 3)]
    recorder.record(on_log("decisions", *old))
    recorder.record(on_log("labels", *(label(f"e{number}", False) for number in range(0, 1_200, 3))))
    recorder.record(
        [
            *on_log("decisions", *(decision(f"e{n}", body="bb") for n in range(1_200)), first=400),
            *on_log("labels", *(label(f"e{number}") for number in range(1_200)), first=400),
        ]
    )
    assert ledger.counters() == {
        "events": 1_200,
        "repeated": 400,
        "conflicts": 400,
        "labelled": 1_200,
        "labelled_fraud": 800,
    }
    assert ledger.decision("e3") == encode(old[1])


def test_a_batch_longer_than_a_list_of_ids_may_be_is_recorded_whole(ledger):
    chunk = on_log("decisions", *(decision(f"e{number}") for number in range(3_000)))
    recorder_of(ledger).record(chunk)
    assert ledger.counters()["events"] == 3_000


# --- what cannot be read


@pytest.mark.parametrize(
    "foreign",
    [
        b"{broken",
        b"\xff\xfe",
        b'{"event_id": "e9"}',
        encode(decision("e9", arrived_us=1 << 63)),
        encode(decision("e\0")),
        encode(decision("e9", decided_at="yesterday")),
        encode(decision("e9", event_time="yesterday")),
        encode(decision("e9", event_time="2026-01-01T00:00:00")),
        encode(decision("e9", event_time="0001-01-01T00:00:00+05:00")),
        encode(decision("e9", v=2)),
        encode(decision("e9")).replace(b'"amount":12.5', b'"amount":"much"'),
    ],
)
def test_a_record_that_nobody_can_read_becomes_a_dead_letter_and_stops_nothing(ledger, foreign):
    recorder = recorder_of(ledger)
    recorder.record(on_log("decisions", decision("e1"), foreign, decision("e2")))
    (letter,) = ledger.dead_letters(10)
    assert (letter.topic, letter.offset) == ("decisions", 1)
    assert "not a record that Weir writes" in letter.reason
    came = as_it_came(Opener(Envelopes(SEALER), {}), letter.value, letter.key, SEALER.open)
    assert came == AsItCame(b"key", foreign)
    assert ledger.counters() == {"events": 2}
    assert recorder.counts["unreadable"] == 1


def test_a_label_is_read_as_the_score_role_reads_it_and_a_bad_one_is_passed_over(ledger):
    recorder = recorder_of(ledger)
    spare = (
        b'{"label_id": 7, "event_id": 42, "label": "fraud", "source": "bank", "labelled_at": "2026-01-01"}'
    )
    zoned = spare.replace(b'"2026-01-01"', b'"2026-01-01T10:00:00Z"')
    recorder.record(on_log("labels", b"{broken", b'{"label": "perhaps"}', spare, zoned, label("e1")))
    counters = ledger.counters()
    assert counters["labelled"] == 2
    assert counters["labelled_fraud"] == 2
    assert recorder.counts["unreadable"] == 3
    assert ledger.dead_letters(10) == []


def test_a_dead_letter_is_found_by_where_it_stood_and_its_key_is_sealed(ledger):
    recorder_of(ledger).record([dead_letter(key=b"4111111111111111", value=b"sealed")])
    letter = ledger.dead_letter("transactions/3@77")
    assert (letter.reason, letter.value, letter.at_us) == ("no amount", b"sealed", 5)
    assert b"4111" not in letter.key
    assert SEALER.open(letter.key) == b"4111111111111111"
    assert ledger.dead_letter("transactions/3@78") is None
    assert ledger.dead_letter("nonsense") is None


@pytest.mark.parametrize(
    "foreign", [{"partition": "first"}, {"offset": None}, {"at": "9" * 30}, {"reason": "a\0b"}]
)
def test_a_dead_letter_that_weir_did_not_write_stops_nothing(ledger, foreign):
    recorder_of(ledger).record([dead_letter(**foreign), *on_log("decisions", decision("e1"))])
    (letter,) = ledger.dead_letters(10)
    assert letter.topic == "transactions.dlq"
    assert "not a record that Weir writes" in letter.reason
    assert ledger.decision("e1") is not None


def test_what_is_condemned_is_kept_as_a_dead_letter_whatever_it_is(ledger):
    recorder_of(ledger).record(on_log("decisions", decision("e1")), "it ends workers")
    (letter,) = ledger.dead_letters(10)
    assert (letter.topic, letter.offset, letter.reason) == ("decisions", 0, "it ends workers")
    assert ledger.decision("e1") is None


def test_a_tenants_prefix_is_taken_off(ledger):
    recorder_of(ledger, prefix="shop.").record(
        [*on_log("shop.decisions", decision("e1")), *on_log("shop.labels", label("e1"))]
    )
    assert ledger.counters() == {"events": 1, "labelled": 1, "labelled_fraud": 1}


# --- the stream's clock


def test_the_streams_clock_is_now_while_its_events_are_decided_soon_after_they_arrive(ledger):
    silent_for_days = NOON_US + 3 * DAY_US
    assert ledger.clock_us(silent_for_days) == silent_for_days
    recorder_of(ledger).record(on_log("decisions", decision("e1")))
    assert ledger.clock_us(silent_for_days) == silent_for_days


def test_the_clock_of_a_history_or_a_simulation_is_its_newest_arrival(ledger):
    first, second = NOON_US - 900 * DAY_US, NOON_US - 800 * DAY_US
    recorder_of(ledger).record(
        on_log("decisions", decision("e1", arrived_us=first), decision("e2", arrived_us=second))
    )
    assert ledger.clock_us(NOON_US) == second


# --- the learner's side


def test_the_learner_gets_the_features_logged_at_decision_time(ledger):
    recorder_of(ledger).record(on_log("decisions", decision("e1", amount=3.5), decision("e2")))
    log = ledger.decision_log(NAMES)
    found = log.logged(["e1", "unknown", "e2"])
    assert set(found) == {"e1", "e2"}
    assert found["e1"][0] == 3.5
    assert found["e1"][1] != found["e1"][1]  # NaN: not known


def test_the_learner_gets_the_networks_score_that_was_logged_too(ledger):
    made = [decision("e1", scores={"river": 0.5, "sequence": 0.25}), decision("e2")]
    recorder_of(ledger).record(on_log("decisions", *made))
    names = (*NAMES, SEQUENCE)
    found = ledger.decision_log(names).logged(["e1", "e2"])
    assert found["e1"][-1] == 0.25
    assert found["e2"][-1] != found["e2"][-1]
    assert next(vector[-1] for _, vector in ledger.recent(10, names)) == 0.25


def test_a_checkpoint_keeps_all_of_it_and_the_next_learner_goes_on_there(ledger):
    log = ledger.decision_log(NAMES)
    held, waits = Label("l1", "e1", True, "test", 5), Label("l2", "e9", False, "test", 6)
    log.checkpoint(snapshot(1), {TP("labels", 0): 7}, [held], [waits])
    assert ledger.positions("learn") == {TP("labels", 0): 7}
    assert log.learned(["l1", "l2"]) == {"l1"}
    assert ledger.waiting() == [waits]
    assert ledger.newest_snapshot(0) == snapshot(1)
    assert ledger.newest_snapshot(1) is None
    log.checkpoint(None, {TP("labels", 0): 8}, [waits], [])
    assert ledger.waiting() == []
    assert ledger.newest_snapshot(0).number == 1


def test_a_checkpoint_that_fails_keeps_nothing_of_it(ledger):
    log = ledger.decision_log(NAMES)
    log.checkpoint(snapshot(1), {TP("labels", 0): 7}, [], [])
    with pytest.raises(Exception, match="snapshots"):
        log.checkpoint(snapshot(1), {TP("labels", 0): 9}, [Label("l1", "e1", True, "test", 5)], [])
    assert ledger.positions("learn") == {TP("labels", 0): 7}
    assert log.learned(["l1"]) == set()


def test_a_snapshot_lives_as_long_as_a_decision_that_names_it(ledger):
    log = ledger.decision_log(NAMES)
    recorder_of(ledger).record(
        on_log("decisions", decision("e1", model_version="null-2"), decision("e2", model_version="null-14"))
    )
    for number in range(1, 31):
        log.checkpoint(snapshot(number), {}, [], [])
    kept = [each.number for each in ledger.snapshots()]
    assert kept == [*range(30, 13, -1), 2]


def test_snapshots_that_decisions_still_to_be_recorded_may_name_stay(ledger):
    """The recorder is behind: what it has still to write names the model in use or a later one."""
    log = ledger.decision_log(NAMES)
    recorder = recorder_of(ledger)
    for number in range(1, 41):
        log.checkpoint(snapshot(number), {}, [], [])
        if number == 5:
            recorder.record(on_log("decisions", decision("e1", model_version="null-5")))
    assert [each.number for each in ledger.snapshots()] == list(range(40, 4, -1))


def test_snapshots_are_let_go_where_a_pinned_model_decides(ledger, monkeypatch):
    monkeypatch.setattr(learning, "KEPT_UNNAMED", 20)
    recorder_of(ledger).record(on_log("decisions", decision("e1", model_version="pinned-1")))
    log = ledger.decision_log(NAMES)
    for number in range(1, 31):
        log.checkpoint(snapshot(number), {}, [], [])
    assert [each.number for each in ledger.snapshots()] == list(range(30, 10, -1))


def test_a_lease_is_taken_by_whoever_saw_it_as_it_is_and_numbered_anew(ledger):
    leases = ledger.leases()
    assert leases.look() is None
    assert leases.take(None, "one") == 1
    assert leases.take(None, "two") is None
    seen = leases.look()
    assert (seen.token, seen.holder) == (1, "one")
    assert leases.beat(1)
    assert leases.take(seen, "two") is None, "it beat in between"
    assert leases.take(leases.look(), "two") == 2
    assert not leases.beat(1)
    leases.give_back(1)
    assert leases.look().holder == "two"
    leases.give_back(2)
    assert leases.look().holder is None


def test_a_learner_that_was_thought_dead_keeps_nothing_of_its_checkpoint(ledger):
    leases = ledger.leases()
    zombie = ledger.decision_log(NAMES, leases.take(None, "one"))
    zombie.checkpoint(snapshot(1), {TP("labels", 0): 7}, [], [])
    active = ledger.decision_log(NAMES, leases.take(leases.look(), "two"))
    with pytest.raises(LeaseLost, match="number 1"):
        zombie.checkpoint(snapshot(2), {TP("labels", 0): 9}, [Label("l1", "e1", True, "test", 5)], [])
    assert ledger.positions("learn") == {TP("labels", 0): 7}
    assert ledger.newest_snapshot(1) is None
    assert active.learned(["l1"]) == set()
    active.checkpoint(snapshot(2), {TP("labels", 0): 8}, [], [])
    assert ledger.positions("learn") == {TP("labels", 0): 8}


def test_no_one_takes_over_while_a_checkpoint_is_being_written(ledger):
    """Whoever waits for it finds that the holder lives: a checkpoint is a beat."""
    leases = ledger.leases()
    token = leases.take(None, "one")
    seen, taken = leases.look(), []
    other = threading.Thread(target=lambda: taken.append(leases.take(seen, "two")))
    with ledger.engine.begin() as db:
        refuse_zombie(db, token)
        other.start()
        other.join(0.3)
        assert taken == []
    other.join()
    assert taken == [None]
    assert leases.beat(token)


def test_recent_decisions_come_oldest_first(ledger):
    chunk = on_log("decisions", *(decision(f"e{n}", arrived_us=n, amount=n) for n in range(9)))
    recorder_of(ledger).record(chunk)
    assert [(at, vector[0]) for at, vector in ledger.recent(3, NAMES)] == [(6, 6.0), (7, 7.0), (8, 8.0)]


# --- the schema


def test_several_processes_may_make_the_schema_at_once(database):
    faults, opened = [], []

    def run():
        try:
            opened.append(Ledger.open(database))
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ledger in opened:
        ledger.close()
    assert faults == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://weir:secret@127.0.0.1:1/weir?connect_timeout=2", "refused"),
        ("sqlite:////proc/nowhere/weir.db", "nowhere"),
        ("mysql://127.0.0.1/weir", "SQLite"),
        ("sqlite://", "in a file"),
        ("nonsense", "parse"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url, said):
    with pytest.raises(LedgerError, match=said) as fault:
        Ledger.open(url)
    assert "secret" not in str(fault.value)
    assert "cannot be used" in str(fault.value)
