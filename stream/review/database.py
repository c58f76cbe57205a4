"""One engine for SQLite and PostgreSQL: how it connects, how it begins, and which schema it finds."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from stream.config import masked
from stream.records import TP
from stream.review import tables
from stream.review.migrations import SchemaError, at_head, bring_to_head

BUSY_SECONDS = 30
LOCKS = ("schema", "record", "people")
FIRST_LOCK = 770_313
"""PostgreSQL's advisory locks are numbers that a database's users share: ours begin here."""

CHUNK = 500
"""Ids of one IN list: below every database's limit."""


class LedgerError(Exception):
    """A database that cannot be used: which, why, and what to do."""


def connect(url: str) -> Engine:
    """An engine with the newest schema in place; raises LedgerError for a database that cannot be used."""
    try:
        engine = _engine(make_url(url))
        _prepare_schema(engine)
    except (DBAPIError, ArgumentError, SchemaError, OSError, ValueError) as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        raise LedgerError(f"the database {masked(url)} cannot be used: {reason}") from error
    return engine


def _engine(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ArgumentError(
            "Weir keeps its records in SQLite (sqlite:///FILE) or PostgreSQL (postgresql://...)"
        )
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ArgumentError("several processes share it: SQLite must keep it in a file (sqlite:///FILE)")
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
    if engine.dialect.name == "sqlite":
        _serve_sqlite(engine, str(url.database))
    return engine


def _serve_sqlite(engine: Engine, file: str) -> None:
    """Durable transactions that are ours to begin, and writers that queue.

    SQLite lets a waiting writer ask again and again, and who asks at the wrong moments waits for seconds behind a busy
    recorder; the system's lock of a file beside the database is handed on in turn.
    """

    def prepare(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["turn"] = turn = Path(f"{file}.turn").open("a")  # noqa: SIM115 - lives as the connection
        connection.isolation_level = None
        fcntl.flock(turn, fcntl.LOCK_EX)  # SQLite does not wait at all where the journal's mode changes
        for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        fcntl.flock(turn, fcntl.LOCK_UN)

    def begin(connection: Connection) -> None:
        """A transaction that reads and then writes must not find another's write in between."""
        if connection.get_execution_options().get("reading", False):
            connection.exec_driver_sql("BEGIN")
            return
        fcntl.flock(connection.info["turn"], fcntl.LOCK_EX)
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def end(connection: Any, record: ConnectionPoolEntry) -> None:
        fcntl.flock(record.info["turn"], fcntl.LOCK_UN)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    event.listen(engine, "checkin", end)
    event.listen(engine, "close", lambda _, record: record.info["turn"].close())


def _prepare_schema(engine: Engine) -> None:
    with engine.execution_options(reading=True).connect() as db:
        if at_head(db):
            return
    with engine.begin() as db:
        one_writer(db, "schema")  # several processes start at once
        bring_to_head(db)


def one_writer(db: Connection, what: str) -> None:
    """Until this transaction ends nobody else does `what`; SQLite has one writer for everything anyway."""
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(LOCKS.index(what) + FIRST_LOCK)))


def shared_writer(db: Connection, what: str) -> None:
    """Until this transaction ends others may do `what` too, but nobody as the sole one."""
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock_shared(LOCKS.index(what) + FIRST_LOCK)))


def insert_new(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose key is not there yet; the others are left as they are."""
    if rows:
        db.execute(_insert(db, table).on_conflict_do_nothing(), list(rows))


def replace(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or give those whose key is there the new values."""
    if rows:
        statement, keys = _insert(db, table), [column.name for column in table.primary_key]
        new = {name: value for name, value in statement.excluded.items() if name not in keys}
        db.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), list(rows))


def keep_positions(db: Connection, reader: str, positions: Mapping[TP, int]) -> None:
    """Keep from where a reader goes on; one that was thought dead and wakes up takes nothing back."""
    table = tables.positions
    rows = [
        {"reader": reader, "topic": tp.topic, "part": tp.partition, "after": positions[tp]}
        for tp in positions
    ]
    if rows:
        statement = _insert(db, table)
        new = statement.excluded.after
        ahead = statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={"after": new}, where=new > table.c.after
        )
        db.execute(ahead, rows)


def _insert(db: Connection, table: Table) -> Any:
    """An INSERT that may say what happens when the key is there: each dialect has its own."""
    return (sqlite if db.dialect.name == "sqlite" else postgresql).insert(table)


def in_chunks(ids: Iterable[str]) -> Iterable[list[str]]:
    """Different ids, in lists that fit an IN."""
    listed = list(dict.fromkeys(ids))
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]
