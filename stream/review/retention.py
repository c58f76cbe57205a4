"""Letting go of old decisions: whole partitions on PostgreSQL, batches of rows on SQLite and where no partition is.

An id is remembered as long as its decision. What stays however old: decisions whose case is open, and those of events
that came late and did not arrive so long ago.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Engine, delete, select

from features.events import to_us
from stream.review import tables as t
from stream.review.bulk import among, in_chunks
from stream.review.database import RECORD, while_free
from stream.review.periods import let_go, spans
from stream.review.recording import OPEN

ROWS = 2_000
"""How many decisions one transaction deletes at most, where it drops no partition."""

KEPT = "arrived_us >= :floor_us OR event_id IN (SELECT event_id FROM alerts WHERE state = :open)"


def retain(engine: Engine, floor: datetime) -> bool:
    """Let go of some decisions from before `floor`, in one transaction; gives whether there may be more to let go.

    Where somebody holds the table (a dump), that is left to the next time.
    """
    return bool(while_free(engine, RECORD, lambda db: _drop_partition(db, floor) or _delete_rows(db, floor)))


def _drop_partition(db: Connection, floor: datetime) -> bool:
    if db.dialect.name != "postgresql":
        return False
    old = [span for span in spans(db) if span.end <= floor]
    if old:
        let_go(db, old[0], KEPT, {"floor_us": to_us(floor), "open": OPEN})
    return bool(old)


def _delete_rows(db: Connection, floor: datetime) -> bool:
    """Delete decisions and their ids, and the ids of partitions that were dropped before."""
    i, d, a = t.decided.c, t.decisions.c, t.alerts.c
    waiting = select(a.alert_id).where(a.event_id == i.event_id, a.state == OPEN).exists()
    old = (i.event_time < floor) & (d.event_id.is_(None) | ((d.arrived_us < to_us(floor)) & ~waiting))
    query = (
        select(i.event_id)
        .select_from(t.decided.outerjoin(t.decisions, t.same & (d.event_time < floor)))
        .where(old)
        .order_by(i.event_time, i.event_id)
        .limit(ROWS)
    )
    ids = db.execute(query).scalars().all()
    for some in in_chunks(ids):
        db.execute(delete(t.decisions).where(among(db, d.event_id, some), d.event_time < floor))
        db.execute(delete(t.decided).where(among(db, i.event_id, some)))
    return len(ids) == ROWS
