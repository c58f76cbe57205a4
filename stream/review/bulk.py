"""Many rows at once on PostgreSQL: COPY, binary, and arrays, for an INSERT that may find keys there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

LEAST = 50
"""Rows from which these ways are faster than an INSERT for each."""

Row = Mapping[str, Any]

KINDS = {
    BigInteger: "int8",
    Boolean: "bool",
    DateTime: "timestamptz",
    Double: "float8",
    Integer: "int4",
    LargeBinary: "bytea",
    String: "text",
}


def pays(db: Connection, rows: Sequence[Row]) -> bool:
    """Whether these rows are worth a COPY."""
    return len(rows) >= LEAST and db.dialect.name == "postgresql"


def copy(db: Connection, table: Table, names: Sequence[str], rows: Sequence[Row]) -> None:
    """COPY these columns of rows into a table."""
    kinds = [KINDS[type(table.c[name].type)] for name in names]
    quoted = ", ".join(f'"{name}"' for name in names)
    driver: Any = db.connection.driver_connection
    statement = f"COPY {table.name} ({quoted}) FROM STDIN (FORMAT BINARY)"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as sink:
            sink.set_types(kinds)
            for row in rows:
                sink.write_row([row[name] for name in names])
    except psycopg.Error as error:
        raise _as_sqlalchemys(db, statement, error, driver.closed) from error


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
