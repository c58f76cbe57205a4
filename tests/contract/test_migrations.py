"""The schema's history: every revision leads to the next and back with the data in the tables, on every database."""

# ruff: noqa: F811 - pytest's fixtures are asked for by name

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import MetaData, inspect, select, text

from features.events import Label
from stream.keyring import Newcomer
from stream.records import TP
from stream.review import migrations, tables
from stream.review.database import _engine, make_url
from stream.review.ledger import Ledger, LedgerError
from stream.review.migrations import BASE, at_head, head, move, revisions
from stream.review.people import People
from stream.review.queue import ReviewQueue
from tests.contract.ledger_records import (
    NAMES,
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

OLDEST = "0001"


@pytest.fixture
def empty(database):
    """An engine on a database that Weir has not seen yet."""
    engine = _engine(make_url(database))
    yield engine
    engine.dispose()


def go(engine, to):
    with engine.begin() as db:
        move(db, to)


def described(engine):
    """By table: its columns, keys and indexes, as the database tells them."""
    look = inspect(engine)
    tables_ = [name for name in look.get_table_names() if not name.startswith("decisions_")]
    return {name: description(look, name) for name in tables_}


def description(look, name):
    return {
        "columns": {
            column["name"]: (str(column["type"]), column["nullable"]) for column in look.get_columns(name)
        },
        "key": look.get_pk_constraint(name)["constrained_columns"],
        "indexes": {
            index["name"]: (index["column_names"], bool(index["unique"]))
            for index in look.get_indexes(name)
            if "duplicates_constraint" not in index
        },
        "unique": [each["column_names"] for each in look.get_unique_constraints(name)],
    }


def rows(engine):
    """By table: all rows, whatever the schema is, but not how it is marked; a partition's are its table's."""
    found = MetaData()
    found.reflect(engine)
    with engine.connect() as db:
        return {
            name: sorted(map(repr, db.execute(select(table)).all()))
            for name, table in found.tables.items()
            if name not in ("alembic_version", "schema_version") and not name.startswith("decisions_")
        }


def fill(ledger):
    """Something in every table."""
    recorder_of(ledger).record(
        [
            *on_log("decisions", decision("e3")),
            *of_alerts(alert("e1"), alert("e2", model_version="null-1")),
            *on_log("labels", label("e2")),
            dead_letter(),
        ]
    )
    ReviewQueue(ledger, SEALER.open).give("alert-e1", "fraud")
    people = People(ledger.engine, SEALER)
    people.make([Newcomer("ada", b"key", 5)])
    people.forget("bob", 5)
    held, waits = Label("l1", "e1", True, "test", 5), Label("l2", "e9", False, "test", 6)
    ledger.decision_log(NAMES).checkpoint(snapshot(1), {TP("labels", 0): 7}, [held], [waits])
    ledger.leases().take(None, "here")


def test_the_migrations_make_what_the_tables_say(empty, make_database):
    go(empty, head())
    made = _engine(make_url(make_database()))
    tables.metadata.create_all(made)
    assert described(empty) == described(made)
    made.dispose()


def test_alembic_sees_no_difference_between_the_newest_revision_and_the_tables(empty):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    go(empty, head())
    with empty.connect() as db:
        context = MigrationContext.configure(
            db, opts={"include_name": lambda name, kind, _: not (kind == "table" and "decisions_" in name)}
        )
        assert compare_metadata(context, tables.metadata) == []


def test_the_revisions_are_one_line_numbered_as_their_files():
    from alembic.script import ScriptDirectory

    line = [each.revision for each in ScriptDirectory(str(migrations.HERE)).walk_revisions()]
    assert tuple(reversed(line)) == revisions()


@pytest.mark.parametrize("revision", revisions())
def test_data_survives_the_way_down_and_up_again(ledger, revision):
    fill(ledger)
    whole = rows(ledger.engine)
    assert [name for name, found in whole.items() if not found] == []
    go(ledger.engine, revision)
    below = rows(ledger.engine)
    go(ledger.engine, head())
    assert {name: found for name, found in rows(ledger.engine).items() if name in below} == {
        name: found for name, found in whole.items() if name in below
    }
    go(ledger.engine, revision)
    assert rows(ledger.engine) == below


def test_at_the_end_of_the_way_down_nothing_is_left(ledger):
    fill(ledger)
    go(ledger.engine, BASE)
    assert set(inspect(ledger.engine).get_table_names()) == {"alembic_version"}
    go(ledger.engine, head())
    assert recorder_of(ledger).record(on_log("decisions", decision("e1")))["events"] == 1


def test_a_database_of_the_first_weirs_is_adopted_with_what_is_in_it(ledger, database):
    fill(ledger)
    go(ledger.engine, OLDEST)
    before = rows(ledger.engine)
    with ledger.engine.begin() as db:
        db.execute(text("DROP TABLE alembic_version"))
    adopted = Ledger.open(database)
    with adopted.engine.connect() as db:
        assert at_head(db)
    assert adopted.decision("e1") is not None
    assert adopted.counters()["events"] == 3
    go(adopted.engine, OLDEST)
    assert rows(adopted.engine) == before
    adopted.close()


@pytest.mark.parametrize("mark", ["alembic_version", "schema_version"])
def test_a_database_newer_than_this_weir_is_refused_by_its_number(ledger, database, mark):
    with ledger.engine.begin() as db:
        if mark == "schema_version":
            db.execute(text("DROP TABLE alembic_version"))
            db.execute(text("UPDATE schema_version SET version = 99"))
        else:
            db.execute(text("UPDATE alembic_version SET version_num = '9099'"))
    with pytest.raises(LedgerError, match=r"schema is (90)?99, and the newest .* is \d{4}: use the Weir"):
        Ledger.open(database)


def test_alembic_is_not_loaded_where_there_is_nothing_to_migrate(database):
    code = (
        "import sys; from stream.review.ledger import Ledger; Ledger.open(sys.argv[1]); Ledger.open(sys.argv[1]);"
        "sys.exit('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, database], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
