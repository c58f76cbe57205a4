"""PostgreSQL breaks under the recorder: nothing is lost, nothing counts twice, and what cannot go on says why."""

# ruff: noqa: F811 - pytest's fixtures are asked for by name

import shutil
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError

from features.events import to_us
from stream.blame import is_the_records
from stream.records import TP
from stream.review import bulk, recording, tables
from stream.review import database as databases
from stream.review import ledger as ledgers
from stream.review.ledger import Ledger, LedgerError
from tests.contract.ledger_records import alert, decision, decision_of, label, of_alerts, on_log, recorder_of
from tests.contract.test_ledger import database, ledger  # noqa: F401 - fixtures
from tests.contract.test_retention import NOW
from tests.integration.postgres import PostgresServer, make_database  # noqa: F401

SIZE = 100


@pytest.fixture
def bystander(database):
    """Another client of the same database, which commits by itself."""
    url = make_url(database).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        yield db
    engine.dispose()


def chunk(number):
    """A hundred decisions, an alert and a label of the first."""
    names = [f"e{number * SIZE + each}" for each in range(SIZE)]
    return [
        *on_log(
            "decisions",
            decision_of(alert(names[0])),
            *map(decision, names[1:]),
            first=number * SIZE,
        ),
        *on_log("labels", label(names[0]), first=number),
    ]


def holds_exactly(ledger, chunks):
    """Every decision once, counted once, and the positions behind them."""
    with ledger.engine.connect() as db:
        found = db.execute(text("SELECT count(*), count(DISTINCT event_id) FROM decisions")).one()
    counters = ledger.counters()
    assert tuple(found) == (chunks * SIZE, chunks * SIZE)
    assert (counters["events"], counters["alerts"], counters["alerts_fraud"]) == (
        chunks * SIZE,
        chunks,
        chunks,
    )
    assert "repeated" not in counters
    assert ledger.positions("record") == {
        TP("decisions", 0): chunks * SIZE,
        TP("labels", 0): chunks,
    }


def backend(db):
    return db.execute(text("SELECT pg_backend_pid()")).scalar_one()


def end(bystander, pid):
    bystander.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


@pytest.mark.parametrize(
    ("module", "step"),
    [(recording, "_bodies"), (bulk, "copy"), (bulk, "add_values"), (ledgers, "keep_positions")],
    ids=["reading", "copying", "counting", "positions"],
)
def test_a_connection_that_is_ended_within_a_batch_costs_nothing(
    ledger, bystander, monkeypatch, module, step
):
    recorder = recorder_of(ledger)
    recorder.record(chunk(0))
    real, ended = getattr(module, step), []

    def ending(db, *args):
        if not ended:
            ended.append(backend(db))
            end(bystander, ended[0])
        return real(db, *args)

    monkeypatch.setattr(module, step, ending)
    recorder.record(chunk(1))
    recorder.record(chunk(2))
    assert ended
    holds_exactly(ledger, 3)


def test_a_commit_whose_answer_is_lost_counts_once(ledger):
    recorder, ended = recorder_of(ledger), []
    recorder.record(chunk(0))

    def commit_and_end(db):
        if not ended:
            ended.append(db.connection.driver_connection.info.backend_pid)
            db.connection.driver_connection.execute("COMMIT")
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("the server closed the connection"))

    event.listen(ledger.engine, "commit", commit_and_end)
    recorder.record(chunk(1))
    assert ended
    holds_exactly(ledger, 2)


def test_what_copy_finds_wrong_is_an_error_like_any_other(ledger):
    names, row = ("event_id", "event_time", "body"), ("e1", to_us(NOW), "aa")
    with ledger.engine.begin() as db:
        bulk.insert(db, tables.decided, names, [row])
    with pytest.raises(IntegrityError, match="decided_pkey") as fault, ledger.engine.begin() as db:
        bulk.insert(db, tables.decided, names, [row])
    assert is_the_records(fault.value)


def test_a_recorder_that_gives_way_in_a_deadlock_tries_again(ledger, bystander, caplog):
    """An analyst's hand is on an alert whose label the recorder is about to write, and waits for the recorder."""
    recorder = recorder_of(ledger)
    recorder.record(of_alerts(alert("e0")))
    bystander.execute(text("SET deadlock_timeout = '20s'"))  # so that it is the recorder who notices
    bystander.execute(text("BEGIN"))
    bystander.execute(text("UPDATE alerts SET score = score"))
    waits = threading.Thread(target=recorder.record, args=(on_log("labels", label("e0")),))
    waits.start()
    while not bystander.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
        pass
    bystander.execute(text(f"SELECT pg_advisory_xact_lock({databases.FIRST_LOCK + 1})"))
    bystander.execute(text("COMMIT"))
    waits.join()
    assert "deadlock detected; trying again" in caplog.text
    assert ledger.counters() == {
        "events": 1,
        "alerts": 1,
        "labelled": 1,
        "labelled_fraud": 1,
        "alerts_labelled": 1,
        "alerts_fraud": 1,
    }


def test_a_database_that_takes_no_writes_is_named_and_no_record_is_blamed(ledger, database, bystander):
    recorder_of(ledger).record(chunk(0))
    name = make_url(database).database
    bystander.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    refused = Ledger.open(database)  # who only reads goes on
    try:
        with pytest.raises(
            LedgerError, match=r"cannot be recorded: .*read-only transaction; nothing of this"
        ) as fault:
            recorder_of(refused).record(chunk(1))
        assert not is_the_records(fault.value)
        assert refused.decision("e5") is not None
    finally:
        bystander.execute(text("SET default_transaction_read_only = off"))
        bystander.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
        refused.close()
    recorder_of(ledger).record(chunk(1))
    holds_exactly(ledger, 2)


def test_a_right_that_was_taken_away_is_named_and_no_record_is_blamed(ledger, database, bystander):
    schema = make_url(database).query["options"].partition("=")[2]
    bystander.execute(text(f"DROP ROLE IF EXISTS reader_{schema}"))
    bystander.execute(text(f"CREATE ROLE reader_{schema} LOGIN"))
    bystander.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO reader_{schema}"))
    bystander.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}"))
    reader = Ledger.open(make_url(database).set(username=f"reader_{schema}").render_as_string(False))
    with pytest.raises(LedgerError, match="cannot be recorded: permission denied for") as fault:
        recorder_of(reader).record(chunk(0))
    assert not is_the_records(fault.value)
    reader.close()
    bystander.execute(text(f"DROP OWNED BY reader_{schema}"))
    bystander.execute(text(f"DROP ROLE reader_{schema}"))


def test_a_recorder_and_its_zombie_side_by_side_record_everything_once(ledger):
    """Both read the same partition from its start; the order in which they get their turns is anyone's."""
    recorders = [recorder_of(Ledger(ledger.engine)) for _ in range(2)]
    faults = []

    def run(recorder):
        try:
            for number in range(12):
                recorder.record(chunk(number))
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            faults.append(error)

    threads = [threading.Thread(target=run, args=(recorder,)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert ledger.counters()["repeated"] == 12 * SIZE
    with ledger.engine.begin() as db:
        db.execute(text("DELETE FROM counters WHERE name = 'repeated'"))
    holds_exactly(ledger, 12)


@pytest.fixture
def server():
    directory = Path(
        tempfile.mkdtemp(prefix="weir-postgres-")
    )  # pytest's own are closed to the user postgres
    found = PostgresServer(directory)
    yield found
    found.ctl("stop", "-m", "immediate")
    shutil.rmtree(directory)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_while_decisions_come_is_waited_for(server, mode):
    ledger = Ledger.open(server.url)
    recorder, begun = recorder_of(ledger), threading.Event()
    faults = []

    def run():
        try:
            for number in range(40):
                recorder.record(chunk(number))
                begun.set()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            faults.append(error)
        begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    server.ctl("restart", "-m", mode)
    thread.join()
    assert faults == []
    holds_exactly(ledger, 40)
    ledger.close()
