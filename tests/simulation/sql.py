"""A simulated SQL server: SQLite in memory under SQLAlchemy, whose commits fail, and whose answers are lost."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from stream.review import tables
from stream.review.ledger import Ledger

if TYPE_CHECKING:
    from tests.simulation.world import World


class Kept(sqlite3.Connection):
    """A connection that lives on where SQLAlchemy gives it up, as it does when its caller dies on the way."""

    def close(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")


class Sql:
    """One database, made once and emptied for each schedule. Transactions run one after the other."""

    def __init__(self) -> None:
        self._raw = sqlite3.connect(":memory:", isolation_level=None, factory=Kept)
        self.engine = create_engine("sqlite://", creator=lambda: self._raw, poolclass=StaticPool)
        event.listen(self.engine, "begin", self._begin)
        event.listen(self.engine, "before_cursor_execute", self._execute)
        self._commit = self.engine.dialect.do_commit
        self.engine.dialect.do_commit = self._committing
        self._world: World | None = None
        self.down = 0
        tables.metadata.create_all(self.engine)
        self._empty = ";".join(f"DELETE FROM {table.name}" for table in tables.metadata.tables.values())

    def open(self, world: World) -> Ledger:
        """An empty database for a schedule, and the ledger on it."""
        self._world, self.down = None, 0
        self._raw.close()
        self._raw.executescript(self._empty)
        self._world = world
        return Ledger(self.engine)

    def rows(self, query: str) -> list[Any]:
        """For the oracle, past all faults."""
        return self._raw.execute(query).fetchall()

    def _begin(self, connection: Any) -> None:
        if self.down:
            raise OperationalError("BEGIN", {}, sqlite3.OperationalError("the simulated database is down"))
        self._raw.execute("BEGIN")

    def _execute(self, *_: Any) -> None:
        if self._world is not None:
            self._world.point("statement")

    def _committing(self, connection: Any) -> None:
        if self._world is not None and self._world.point("before sql commit") == "fail":
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("the simulated commit failed"))
        self._commit(connection)
        if self._world is not None and self._world.point("after sql commit") == "fail":
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("the answer was lost"))
