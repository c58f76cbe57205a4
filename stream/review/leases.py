"""The learner's lease in SQL (stream.lease.Leases)."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, select, update

from stream.lease import Held, LeaseLost
from stream.review import tables as t
from stream.review.database import insert_new

NAME = "learn"


class SqlLeases:
    """One row, changed only by whoever saw it as it is, or holds its token."""

    def __init__(self, engine: Engine) -> None:
        """On the ledger's engine."""
        self._engine = engine
        self._reading = engine.execution_options(reading=True)

    def look(self) -> Held | None:
        """The lease as it is; None before the first."""
        c = t.leases.c
        with self._reading.connect() as db:
            row = db.execute(select(c.token, c.beat, c.holder).where(c.name == NAME)).one_or_none()
        return None if row is None else Held(row.token, row.beat, row.holder)

    def take(self, seen: Held | None, holder: str) -> int | None:
        """Take the lease if it still is as it was seen; gives the new token, or None."""
        seen = seen or Held(0, 0, None)
        c = t.leases.c
        as_seen = (c.name == NAME, c.token == seen.token, c.beat == seen.beat)
        with self._engine.begin() as db:
            insert_new(db, t.leases, [{"name": NAME, "token": 0, "beat": 0, "holder": None}])
            new = {"token": seen.token + 1, "beat": 0, "holder": holder}
            taken = db.execute(update(t.leases).where(*as_seen).values(new)).rowcount
        return seen.token + 1 if taken else None

    def beat(self, token: int) -> bool:
        """Count up; False if the lease is another's now."""
        with self._engine.begin() as db:
            return _beat(db, token)

    def give_back(self, token: int) -> None:
        """Let the next one take over at once, if the lease still is ours."""
        c = t.leases.c
        with self._engine.begin() as db:
            db.execute(update(t.leases).where(c.name == NAME, c.token == token).values(holder=None))


def refuse_zombie(db: Connection, token: int) -> None:
    """Raise LeaseLost if the lease is another's; until the transaction ends nobody takes it over."""
    if not _beat(db, token):
        raise LeaseLost(
            f"another learner took over (this one's lease was number {token}): nothing of this checkpoint is kept; "
            "it is learned there"
        )


def _beat(db: Connection, token: int) -> bool:
    c = t.leases.c
    ours = update(t.leases).where(c.name == NAME, c.token == token)
    return db.execute(ours.values(beat=c.beat + 1)).rowcount == 1
