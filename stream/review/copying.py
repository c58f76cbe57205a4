"""All of Weir's tables as they stood at one moment, and back into a database: SQLite's or PostgreSQL's, whichever.

Rows travel as plain values, so that no tool of a database's own is needed, and a copy of the one fills the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, DateTime, Engine, Table, delete, func, select

from features.events import to_us
from stream.review import bulk
from stream.review import tables as t
from stream.review.ledger import now_us
from stream.review.migrations import revision_of
from stream.review.periods import Periods
from stream.review.queue import skip_numbers

SOME = 1_000
"""Rows of one step."""

Rows = tuple[str, list[str], list[list[Any]]]
"""A table's name, its columns, and some of its rows."""


class Copied(NamedTuple):
    """What of a copy its reader wants to know."""

    schema: str
    positions: dict[str, dict[str, int]]  # by reader, by TOPIC/PARTITION


def copied_tables() -> list[Table]:
    """The tables that hold what happened."""
    marks = (t.schema_version, t.alembic_version)
    return [table for table in t.metadata.sorted_tables if table not in marks]


@contextmanager
def at_one_moment(engine: Engine) -> Iterator[Connection]:
    """While the block runs: a connection that sees the database as it was at its first look; nobody waits for it."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with engine.execution_options(reading=True).connect() as db, db.begin():
        yield db


def about(db: Connection) -> Copied:
    """The schema, and how far each reader of the log had come."""
    p = t.positions.c
    positions: dict[str, dict[str, int]] = {}
    for reader, topic, part, after in db.execute(select(p.reader, p.topic, p.part, p.after)):
        positions.setdefault(reader, {})[f"{topic}/{part}"] = after
    return Copied(revision_of(db), positions)


def rows(db: Connection) -> Iterator[Rows]:
    """All rows of all tables, some at a time."""
    for table in copied_tables():
        names = [str(column.name) for column in table.columns]
        found = db.execution_options(stream_results=True, yield_per=SOME).execute(select(table))
        for some in found.partitions(SOME):
            yield str(table.name), names, [list(map(_plain, row)) for row in some]


def _plain(value: Any) -> Any:
    """SQLite gives times without their zone, which is UTC."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def is_empty(engine: Engine) -> bool:
    """Whether nothing ever happened here."""
    with engine.execution_options(reading=True).connect() as db:
        queries = [
            select(func.count()).select_from(select(table).limit(1).subquery()) for table in copied_tables()
        ]
        return not any(db.execute(query).scalar_one() for query in queries)


def make_room(engine: Engine, found: Iterable[Rows]) -> None:
    """Make the partitions that these decisions belong to, where the database has such."""
    periods = Periods(engine)
    for name, columns, some in found:
        if name == t.decisions.name:
            event_time, arrived_us = columns.index("event_time"), columns.index("arrived_us")
            periods.prepare(((to_us(row[event_time]), row[arrived_us]) for row in some), now_us())


def fill(engine: Engine, found: Iterable[Rows]) -> None:
    """Put these rows in the place of what is there, in one transaction."""
    by_name = {table.name: table for table in copied_tables()}
    with engine.begin() as db:
        for table in reversed(copied_tables()):
            db.execute(delete(table))
        for name, columns, some in found:
            _insert(db, by_name[name], columns, some)
        skip_numbers(db)


def _insert(db: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    time_of = bulk.time_of(db)
    for at, name in enumerate(names):
        if isinstance(table.c[name].type, DateTime):
            rows = [(*row[:at], time_of(to_us(row[at])), *row[at + 1 :]) for row in rows]
    bulk.insert(db, table, names, list(map(tuple, rows)))
