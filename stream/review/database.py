"""One engine for SQLite and PostgreSQL: how it connects, how it begins, and which schema it finds."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from stream.config import masked
from stream.records import TP
from stream.review import bulk, tables
from stream.review.migrations import SchemaError, at_head, bring_to_head

logger = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_SECONDS = 30
PRAGMAS = (
    f"busy_timeout={BUSY_SECONDS * 1000}",
    "journal_mode=WAL",
    "synchronous=FULL",  # what was committed is on the disk
    "cache_size=-16000",  # 16 MB: ids come in no order, and each lies on a page of its own
    "wal_autocheckpoint=8000",  # 32 MB: a page that many commits wrote is copied back once
)
"""How every connection to SQLite is set."""

LOCKS = SCHEMA, RECORD, PEOPLE = ("schema", "record", "people")
FIRST_LOCK = 770_313
"""PostgreSQL's advisory locks are numbers that a database's users share: ours begin here."""

FREE_SECONDS = 2
"""How long work that can be put off waits for locks that others hold."""

LOCK_NOT_AVAILABLE = "55P03"


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


def driven(url: URL) -> URL:
    """The URL with the driver that Weir brings along, where it names none."""
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _engine(url: URL) -> Engine:
    url = driven(url)
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ArgumentError(
            "Weir keeps its records in SQLite (sqlite:///FILE) or PostgreSQL (postgresql://...)"
        )
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ArgumentError("several processes share it: SQLite must keep it in a file (sqlite:///FILE)")
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    on_server = url.get_backend_name() != "sqlite"
    # A fault's text shows no values.
    engine = create_engine(url, pool_pre_ping=on_server, hide_parameters=True)
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
        for pragma in PRAGMAS:
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
        one_writer(db, SCHEMA)  # several processes start at once
        bring_to_head(db)


def one_writer(db: Connection, what: str) -> None:
    """Until this transaction ends nobody else does `what`; SQLite has one writer for everything anyway."""
    if db.dialect.name == "postgresql":
        db.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCKS.index(what) + FIRST_LOCK,))


def shared_writer(db: Connection, what: str) -> None:
    """Until this transaction ends others may do `what` too, but nobody as the sole one."""
    if db.dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock_shared(LOCKS.index(what) + FIRST_LOCK)))


def while_free(engine: Engine, what: str, work: Callable[[Connection], T]) -> T | None:
    """What `work` gives, as the one writer and in a transaction of its own; None if it must be put off.

    It must where somebody holds a lock that it needs, and PostgreSQL would let every reader wait behind it.
    """
    try:
        with engine.begin() as db:
            if db.dialect.name == "postgresql":
                db.exec_driver_sql(f"SET LOCAL lock_timeout = '{FREE_SECONDS}s'")
            one_writer(db, what)
            return work(db)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        logger.warning("the database's tables are in use; partitions are made or dropped later")
        return None


def insert_new(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose key is not there yet; the others are left as they are."""
    if rows:
        statement, values = _rows(db, table, rows)
        db.execute(statement.on_conflict_do_nothing(), values)


def replace(db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or give those whose key is there the new values."""
    if rows:
        statement, values = _rows(db, table, rows)
        keys = [column.name for column in table.primary_key]
        new = {name: value for name, value in statement.excluded.items() if name not in keys}
        db.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), values)


def keep_positions(db: Connection, reader: str, positions: Mapping[TP, int]) -> None:
    """Keep from where a reader goes on; one that was thought dead and wakes up takes nothing back."""
    rows = [
        {"reader": reader, "topic": tp.topic, "part": tp.partition, "after": positions[tp]}
        for tp in positions
    ]
    if rows:
        db.execute(_ahead(db.dialect.name), rows)


@cache
def _ahead(dialect: str) -> Any:
    table = tables.positions
    statement = _insert(dialect, table)
    new = statement.excluded.after
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={"after": new}, where=new > table.c.after
    )


def holds_positions(db: Connection, reader: str, positions: Mapping[TP, int]) -> bool:
    """Whether a reader has come so far."""
    p = tables.positions.c
    kept = {TP(row.topic, row.part): row.after for row in db.execute(select(*p).where(p.reader == reader))}
    return all(kept.get(tp, 0) >= after for tp, after in positions.items())


def _rows(
    db: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> tuple[Any, list[Mapping[str, Any]] | None]:
    """An INSERT of rows, and its parameters."""
    if not bulk.pays(db, rows):
        return _insert(db.dialect.name, table), list(rows)
    names = list(rows[0])
    return _insert(db.dialect.name, table).from_select(
        names, select(*bulk.unnested(table, names, rows).c)
    ), None


def _insert(dialect: str, table: Table) -> Any:
    """An INSERT that may say what happens when the key is there: each dialect has its own."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)
