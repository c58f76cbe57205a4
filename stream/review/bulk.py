"""Many rows at once, past what SQLAlchemy does for each: the driver's own batch on SQLite, COPY and arrays on PostgreSQL.

Rows come here as tuples of what the drivers take: a time is what `time_of` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    FromClause,
    Integer,
    LargeBinary,
    String,
    Table,
    any_,
    func,
    literal,
)
from sqlalchemy.exc import DBAPIError

from features.events import NAIVE_EPOCH

LEAST = 50
"""Rows from which arrays are faster on PostgreSQL than an INSERT for each."""

CHUNK = 500
"""Ids of one IN list: below every database's limit."""

Row = Mapping[str, Any]
Values = tuple[Any, ...]

KINDS = {
    BigInteger: "int8",
    Boolean: "bool",
    DateTime: "int8",  # on the wire a timestamptz is no more
    Double: "float8",
    Integer: "int4",
    LargeBinary: "bytea",
    String: "text",
}

YEAR_2000_US = 946_684_800_000_000
"""When PostgreSQL's time began."""


def time_of(db: Connection) -> Callable[[int], Any]:
    """What makes of microseconds since 1970 a value of a DateTime column."""
    return _numbered if db.dialect.name == "postgresql" else _written


def insert(db: Connection, table: Table, names: Sequence[str], rows: Sequence[Values]) -> None:
    """Insert these columns of rows, none of whose keys is there."""
    if not rows:
        return
    if db.dialect.name == "postgresql":
        copy(db, table, names, rows)
    else:
        marks = ", ".join("?" * len(names))
        db.exec_driver_sql(f"INSERT INTO {table.name} ({_quoted(names)}) VALUES ({marks})", rows)


def copy(db: Connection, table: Table, names: Sequence[str], rows: Iterable[Values]) -> None:
    """COPY these columns of rows into a table."""
    driver: Any = db.connection.driver_connection
    statement = f"COPY {table.name} ({_quoted(names)}) FROM STDIN (FORMAT BINARY)"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as sink:
            sink.set_types([KINDS[type(table.c[name].type)] for name in names])
            for row in rows:
                sink.write_row(row)
    except psycopg.Error as error:
        raise _as_sqlalchemys(db, statement, error, driver.closed) from error


def found(db: Connection, key: Column[Any], names: Sequence[str], ids: Collection[str]) -> Iterator[Any]:
    """These columns of the rows whose unique key is one of the ids, which differ."""
    query = f"SELECT {_quoted(names)} FROM {key.table.name} WHERE {key.name}"
    if db.dialect.name == "postgresql":
        if ids:
            # One look into the index for each, whatever PostgreSQL may guess: it would read all of a table in between.
            each = f"SELECT known.* FROM unnest(%b::text[]) AS asked (id), LATERAL ({query} = asked.id LIMIT 1) AS known"
            yield from db.exec_driver_sql(each, (list(ids),))
        return
    for some in in_chunks(ids):
        yield from db.exec_driver_sql(f"{query} IN ({', '.join('?' * len(some))})", tuple(some))


def add_values(db: Connection, table: Table, values: Mapping[str, int]) -> None:
    """Insert names and values, or add to the value of a name that is there; one statement for all."""
    if not values:
        return
    mark = "%s" if db.dialect.name == "postgresql" else "?"
    rows = ", ".join([f"({mark}, {mark})"] * len(values))
    more = f"SET value = {table.name}.value + excluded.value"
    statement = f"INSERT INTO {table.name} (name, value) VALUES {rows} ON CONFLICT (name) DO UPDATE {more}"
    db.exec_driver_sql(statement, tuple(each for pair in values.items() for each in pair))


def in_chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    """Different ids, in lists that fit an IN."""
    listed = list(dict.fromkeys(ids))
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join([f'"{name}"' for name in names])


def _numbered(us: int) -> int:
    return us - YEAR_2000_US


def _written(us: int) -> str:
    """As SQLAlchemy writes it for SQLite; many events of a stream share their second."""
    seconds, rest = divmod(us, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}"


@lru_cache(maxsize=1 << 12)
def _second(seconds: int) -> str:
    return (NAIVE_EPOCH + timedelta(seconds=seconds)).isoformat(" ")


def _as_sqlalchemys(db: Connection, statement: str, error: psycopg.Error, lost: bool) -> BaseException:
    """The driver's error as everybody else of ours expects it, as if SQLAlchemy had run the statement."""
    if lost:
        db.invalidate()
    return DBAPIError.instance(
        statement,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=db.dialect,
    )


def pays(db: Connection, rows: Sequence[Row]) -> bool:
    """Whether these rows are worth arrays."""
    return len(rows) >= LEAST and db.dialect.name == "postgresql"


def unnested(described: Table, names: Sequence[str], rows: Sequence[Row]) -> FromClause:
    """These columns of rows as a table of a query's own: one array a column, one parameter each.

    (A temporary table and a COPY into it cost a table's making and its emptying in every transaction.)
    """
    arrays = [literal([row[name] for row in rows], ARRAY(described.c[name].type)) for name in names]
    return func.unnest(*arrays).table_valued(*names).render_derived()


def among(db: Connection, column: Column[Any], ids: Sequence[str]) -> ColumnElement[bool]:
    """Whether a column is one of these: one array on PostgreSQL, where each parameter of a list has its price."""
    if db.dialect.name == "postgresql":
        return column == any_(literal(ids, ARRAY(column.type)))
    return column.in_(ids)
