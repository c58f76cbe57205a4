"""What goes past SQLAlchemy reaches the database as SQLAlchemy would have written it, and as older rows were."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite

from features.events import to_datetime
from stream.record import FIRST_US, LAST_US
from stream.review import bulk, tables

WRITES = tables.decided.c.event_time.type.dialect_impl(sqlite.dialect()).bind_processor(sqlite.dialect())


@given(st.integers(FIRST_US, LAST_US))
def test_sqlite_gets_a_time_as_sqlalchemy_writes_it(us):
    assert bulk.time_of(SimpleNamespace(dialect=sqlite.dialect()))(us) == WRITES(to_datetime(us))


@pytest.fixture
def db():
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with engine.begin() as db:
        yield db
    engine.dispose()


def test_what_is_found_is_of_the_ids_that_are_there_however_many(db):
    names = [f"e{number}" for number in range(2 * bulk.CHUNK + 1)]
    bulk.insert(
        db, tables.decided, ("event_id", "event_time", "body"), [(name, "", "aa") for name in names[1:]]
    )
    found = bulk.found(db, tables.decided.c.event_id, ("body", "event_id"), names)
    assert {tuple(row) for row in found} == {("aa", name) for name in names[1:]}
    assert list(bulk.found(db, tables.decided.c.event_id, ("body",), [])) == []


def test_values_are_added_to_those_that_are_there(db):
    bulk.add_values(db, tables.counters, {})
    bulk.add_values(db, tables.counters, {"events": 2, "alerts": 1})
    bulk.add_values(db, tables.counters, {"labels": 5, "events": -3})
    rows = db.exec_driver_sql("SELECT name, value FROM counters").all()
    assert dict(map(tuple, rows)) == {"events": -1, "alerts": 1, "labels": 5}
