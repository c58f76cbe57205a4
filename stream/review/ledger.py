"""The ledger: what was decided, alerted, labelled and learned, each written in one transaction with its source offsets.

So a record that is delivered again changes nothing, whatever died in between.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, delete, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from features.events import Label, to_datetime
from models.snapshot import Snapshot
from stream.crash_points import reached
from stream.labels import Vector, vector_of
from stream.records import TP
from stream.review import tables as t
from stream.review.batch import Batch
from stream.review.database import RECORD, LedgerError, connect, holds_positions, keep_positions, one_writer
from stream.review.learning import DecisionLog, Features
from stream.review.leases import SqlLeases
from stream.review.patience import patiently, reason_of
from stream.review.periods import Periods, start_of
from stream.review.recording import record_batch
from stream.review.retention import retain

__all__ = ["DeadLetterRow", "DecisionLog", "Ledger", "LedgerError"]

RECORDER = "record"

NOT_RECORDED = "a batch cannot be recorded"

HOUR_US = 3_600_000_000


class DeadLetterRow(msgspec.Struct, frozen=True):
    """A record that could not be used: where it stood, why, and its key and bytes, both sealed."""

    topic: str
    partition: int
    offset: int
    reason: str
    at_us: int
    key: bytes | None
    value: bytes


class Ledger:
    """All of Weir's SQL but the review queue's. Safe for several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        """Use `Ledger.open`."""
        self.engine = engine
        self._periods = Periods(engine)
        self._reading = engine.execution_options(reading=True)

    @classmethod
    def open(cls, url: str) -> Self:
        """The ledger at an SQLAlchemy URL, made if need be; raises LedgerError for a newer schema."""
        return cls(connect(url))

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

    # --- the recorder's side

    def record(self, batch: Batch) -> Counter[str]:
        """Write a batch and its offsets in one transaction; what is there already is left as it is, and counted.

        A database that is away for a moment is asked again. Raises LedgerError if it does not take the batch, of
        which nothing is kept then, and DataError or IntegrityError if that is the batch's own fault.
        """
        attempts = itertools.count()
        try:
            return patiently(lambda: self._record(batch, again=next(attempts) > 0), NOT_RECORDED)
        except (DataError, IntegrityError):
            raise
        except DBAPIError as error:
            raise LedgerError(
                f"{NOT_RECORDED}: {reason_of(error)}; nothing of this batch is kept, and it comes again"
            ) from error

    def _record(self, batch: Batch, again: bool) -> Counter[str]:
        self._periods.prepare(((row.event_us, row.arrived_us) for row in batch.decisions), now_us())
        with self.engine.begin() as db:
            one_writer(db, RECORD)
            if again and holds_positions(db, RECORDER, batch.positions):
                return Counter()  # it was committed before the connection broke
            counts = record_batch(db, batch)
            keep_positions(db, RECORDER, batch.positions)
            reached("record.written")
        return counts

    def let_go(self, keep_us: int) -> bool:
        """Let go of some decisions that are older than `keep_us`; gives whether to call again for more.

        How old they are is told by the stream's clock, but never beyond the wall's: one arrival from the year
        2099 must not empty the ledger.
        """
        now = now_us()
        floor = start_of(to_datetime(min(self.clock_us(now), now) - keep_us))
        self._periods.floor = floor
        return retain(self.engine, floor)

    def positions(self, reader: str) -> dict[TP, int]:
        """From where a reader goes on."""
        p = t.positions.c
        with self._reading.connect() as db:
            rows = db.execute(select(p.topic, p.part, p.after).where(p.reader == reader)).all()
        return {TP(topic, part): after for topic, part, after in rows}

    def counters(self) -> dict[str, int]:
        """What was recorded so far, for the page's statistics."""
        with self._reading.connect() as db:
            rows = db.execute(select(t.counters.c.name, t.counters.c.value)).all()
        return {row.name: row.value for row in rows}

    def decision(self, event_id: str) -> bytes | None:
        """The complete decision of an event, as JSON."""
        query = select(t.record_of).where(t.decided.c.event_id == event_id)
        with self._reading.connect() as db:
            return db.execute(query).scalar()

    def clock_us(self, now_us: int) -> int:
        """What a clock on the stream's wall shows `now_us`, in microseconds: the arrival of what is added to it now.

        It is now, unless the stream tells a history or a simulation, or is hours behind: then its newest decision
        was made at quite another time than its event arrived at, and that arrival is the stream's time. A verdict that
        arrived years after the events around it would count for none of them until the stream got there.
        """
        d = t.decisions.c
        query = select(d.arrived_us, d.decided_us).order_by(d.number.desc()).limit(1)
        with self._reading.connect() as db:
            newest = db.execute(query).one_or_none()
        if newest is None or abs(newest.decided_us - newest.arrived_us) <= HOUR_US:
            return now_us
        return int(newest.arrived_us)

    def server_now_s(self) -> float:
        """What the database's clock shows, in seconds since 1970."""
        with self._reading.connect() as db:
            return float(db.execute(select(func.current_timestamp())).scalar_one().timestamp())

    # --- dead letters

    def dead_letters(self, limit: int) -> list[DeadLetterRow]:
        """The newest dead letters."""
        query = select(*t.dead_letters.c).order_by(t.dead_letters.c.at_us.desc()).limit(limit)
        with self._reading.connect() as db:
            return [_dead_letter(row) for row in db.execute(query)]

    def dead_letter_count(self) -> int:
        """How many dead letters are kept."""
        with self._reading.connect() as db:
            return int(db.execute(select(func.count()).select_from(t.dead_letters)).scalar_one())

    def dead_letter(self, place: str) -> DeadLetterRow | None:
        """The dead letter at TOPIC/PARTITION@OFFSET."""
        where = _at(place)
        if where is None:
            return None
        with self._reading.connect() as db:
            row = db.execute(select(*t.dead_letters.c).where(where)).one_or_none()
        return _dead_letter(row) if row is not None else None

    def forget_dead_letter(self, place: str) -> bool:
        """Delete the dead letter at TOPIC/PARTITION@OFFSET; whether there was one."""
        where = _at(place)
        if where is None:
            return False
        with self.engine.begin() as db:
            return bool(db.execute(delete(t.dead_letters).where(where)).rowcount)

    # --- the learner's side

    def decision_log(self, names: Sequence[str], lease: int | None = None) -> DecisionLog:
        """What a learner of these features needs; one that works under a lease keeps nothing once that is another's."""
        return DecisionLog(self.engine, names, lease)

    def leases(self) -> SqlLeases:
        """Who of several learners works."""
        return SqlLeases(self.engine)

    def waiting(self) -> list[Label]:
        """Labels whose decision was not recorded when the learner last looked."""
        with self._reading.connect() as db:
            rows = db.execute(select(t.waiting_labels.c.data)).scalars().all()
        return [msgspec.msgpack.decode(data, type=Label) for data in rows]

    def recent(self, limit: int, names: Sequence[str]) -> Iterator[tuple[int, Vector]]:
        """The newest decisions' arrivals and features, oldest first."""
        query = select(t.decisions.c.record).order_by(t.decisions.c.number.desc()).limit(limit)
        with self._reading.connect() as db:
            records = db.execute(query).scalars().all()
        for record in reversed(records):
            read = msgspec.json.decode(record, type=Features)
            yield read.arrived_us, vector_of(read.features, names, read.scores)

    def newest_snapshot(self, after: int) -> Snapshot | None:
        """The newest snapshot if its number is beyond `after`; raises SnapshotError if it cannot be used."""
        s = t.snapshots.c
        with self._reading.connect() as db:
            data = db.execute(
                select(s.data).where(s.number > after).order_by(s.number.desc()).limit(1)
            ).scalar()
        return Snapshot.decode(data) if data is not None else None

    def snapshot(self, number: int) -> Snapshot | None:
        """One snapshot."""
        with self._reading.connect() as db:
            data = db.execute(select(t.snapshots.c.data).where(t.snapshots.c.number == number)).scalar()
        return Snapshot.decode(data) if data is not None else None

    def snapshots(self) -> list[Snapshot]:
        """All snapshots that are kept, newest first."""
        with self._reading.connect() as db:
            rows = (
                db.execute(select(t.snapshots.c.data).order_by(t.snapshots.c.number.desc())).scalars().all()
            )
        return [Snapshot.decode(data) for data in rows]


def _at(place: str) -> ColumnElement[bool] | None:
    """The condition of a place; None where it is none."""
    topic, _, rest = place.rpartition("/")
    part, _, offset = rest.partition("@")
    if not (part.isdecimal() and offset.isdecimal()):
        return None
    d = t.dead_letters.c
    return (d.topic == topic) & (d.part == int(part)) & (d.offset == int(offset))


def now_us() -> int:
    """The wall clock, in microseconds since 1970."""
    return time.time_ns() // 1_000


def _dead_letter(row: Row[Any]) -> DeadLetterRow:
    return DeadLetterRow(row.topic, row.part, row.offset, row.reason, row.at_us, row.key, row.value)
