"""The partitions of `decisions` on PostgreSQL: one a month, made before its first decision comes, and let go whole.

A decision for which no partition is made stands in the default one: its time is far from its arrival, so that nobody can
say whether such a month will ever fill. If it does, its partition takes over what the default one holds of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, text

from features.catalogue import DAY_US
from features.events import to_datetime
from stream.review.database import RECORD, while_free

PERIOD = "month"
"""How long a partition's span is: "month" or "week". It may be changed: what is there already stays as it is."""

NEAR_US = 31 * DAY_US
"""Only a decision whose event time is so near to its arrival, and its arrival not so far ahead, makes a partition."""

MOST = 600
"""Partitions beyond which none is made: a query that names no time looks into each."""

NAME = re.compile(r"decisions_(\d{8})_(\d{8})")

THERE = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass('decisions') ORDER BY 1"
)


class Span(NamedTuple):
    """From the start of a UTC day to that of another, which is not in it."""

    start: datetime
    end: datetime

    @property
    def name(self) -> str:
        """The partition's name."""
        return f"decisions_{self.start:%Y%m%d}_{self.end:%Y%m%d}"


def start_of(when: datetime) -> datetime:
    """The start of the period that a UTC time is in.

    >>> start_of(datetime(2026, 11, 26, 12, tzinfo=UTC)).isoformat()
    '2026-11-01T00:00:00+00:00'
    """
    day = datetime(when.year, when.month, when.day, tzinfo=UTC)
    if PERIOD == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1)


def spans(db: Connection) -> list[Span]:
    """The partitions that are there, oldest first; the default one is none of them."""
    found = [NAME.fullmatch(name) for name in db.execute(THERE).scalars()]
    return [Span(_midnight(match[1]), _midnight(match[2])) for match in found if match]


class Periods:
    """Makes partitions ahead of the decisions that are about to be recorded."""

    def __init__(self, engine: Engine) -> None:
        """On SQLite there is nothing to make."""
        self.floor: datetime | None = None  # no partition is made before it: it would be let go again
        self._engine = engine
        self._sure: set[datetime] = set()

    def prepare(self, times: Iterable[tuple[int, int]], now_us: int) -> None:
        """Make the partitions of decisions and the ones that follow, in a transaction of its own.

        Told of each: when its event was, and when that arrived, in microseconds since 1970.
        Where somebody holds the table (a dump), that is left to the next batch: the default partition takes all.
        """
        if self._engine.dialect.name != "postgresql":
            return
        most_us = now_us + NEAR_US
        days = {
            event_us // DAY_US
            for event_us, arrived_us in times
            if 0 <= arrived_us < most_us and -NEAR_US < event_us - arrived_us < NEAR_US
        }
        starts = {start_of(to_datetime(day * DAY_US)) for day in days}
        missing = {start for start in starts - self._sure if self.floor is None or start >= self.floor}
        if missing:
            self._sure |= while_free(self._engine, RECORD, lambda db: _make(db, missing)) or set()


def let_go(db: Connection, span: Span, kept: str, values: Mapping[str, Any]) -> None:
    """Drop a partition; what an SQL condition wants to be kept moves to the default one."""
    db.execute(text(f"ALTER TABLE decisions DETACH PARTITION {span.name}"))
    db.execute(text(f"INSERT INTO decisions SELECT * FROM {span.name} WHERE {kept}"), values)
    db.execute(text(f"DROP TABLE {span.name}"))


def _make(db: Connection, starts: set[datetime]) -> set[datetime]:
    for start in sorted(starts):
        for when in (start, _next(start)):
            there = spans(db)
            span = _free(when, there)
            if span and len(there) < MOST:
                _attach(db, span)
    return starts


def _free(start: datetime, there: Sequence[Span]) -> Span | None:
    """What no partition covers yet of the period from `start`, since months may follow on weeks; its first part."""
    end, free = _next(start), start
    for span in there:
        if span.start <= free < span.end:
            free = span.end
    return (
        Span(free, min([end, *(span.start for span in there if span.start > free)])) if free < end else None
    )


def _attach(db: Connection, span: Span) -> None:
    """Make a partition from what the default one holds of its span; readers of the table go on meanwhile.

    (`CREATE TABLE .. PARTITION OF` would lock them out.)
    """
    within = f"event_time >= '{span.start.isoformat()}' AND event_time < '{span.end.isoformat()}'"
    db.execute(text(f"CREATE TABLE {span.name} (LIKE decisions INCLUDING ALL)"))
    db.execute(
        text(
            f"WITH moved AS (DELETE FROM decisions_default WHERE {within} RETURNING *) "
            f"INSERT INTO {span.name} SELECT * FROM moved"
        )
    )
    bounds = f"FROM ('{span.start.isoformat()}') TO ('{span.end.isoformat()}')"
    db.execute(text(f"ALTER TABLE decisions ATTACH PARTITION {span.name} FOR VALUES {bounds}"))


def _next(start: datetime) -> datetime:
    return start_of(start + timedelta(days=7 if PERIOD == "week" else 32))


def _midnight(digits: str) -> datetime:
    return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
