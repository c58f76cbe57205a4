"""The ledger as the learner sees it: features logged with decisions, and checkpoints of what was learned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Engine, delete, insert, select

from features.events import Label
from models.snapshot import Snapshot
from stream.crash_points import reached
from stream.labels import Vector, vector_of
from stream.records import TP
from stream.review import tables as t
from stream.review.bulk import among, in_chunks
from stream.review.database import insert_new, keep_positions
from stream.review.leases import refuse_zombie

LEARNER = "learn"

KEPT_SNAPSHOTS = 10
"""The newest snapshots stay even if no decision names them."""

KEPT_UNNAMED = 100
"""So many stay while the newest decision names none of them: the recorder may be that far behind."""


class Features(msgspec.Struct, gc=False):
    """The part of a decision that a learner reads."""

    arrived_us: int
    features: dict[str, float | None]
    scores: dict[str, float] = {}


class DecisionLog:
    """What the learn role needs (stream.labels.DecisionLog), on the ledger's tables."""

    def __init__(self, engine: Engine, names: Sequence[str], lease: int | None = None) -> None:
        """Give vectors in the order of `names`; checkpoints are refused once the lease `lease` is another's."""
        self._engine = engine
        self._reading = engine.execution_options(reading=True)
        self._names = tuple(names)
        self._lease = lease
        self._decoder = msgspec.json.Decoder(Features)

    def logged(self, event_ids: Sequence[str]) -> dict[str, Vector]:
        """The features logged with the decisions of those of these events that have one."""
        i, found = t.decided.c, {}
        query = select(i.event_id, t.record_of)
        with self._reading.connect() as db:
            for ids in in_chunks(event_ids):
                for event_id, record in db.execute(query.where(among(db, i.event_id, ids))):
                    if record is not None:
                        read = self._decoder.decode(record)
                        found[event_id] = vector_of(read.features, self._names, read.scores)
        return found

    def learned(self, label_ids: Sequence[str]) -> set[str]:
        """Those of these labels that an earlier checkpoint holds."""
        known: set[str] = set()
        column = t.learned_labels.c.label_id
        with self._reading.connect() as db:
            for ids in in_chunks(label_ids):
                known.update(db.execute(select(column).where(among(db, column, ids))).scalars())
        return known

    def checkpoint(
        self,
        snapshot: Snapshot | None,
        positions: Mapping[TP, int],
        learned: Sequence[Label],
        waiting: Sequence[Label],
    ) -> None:
        """Keep a snapshot and everything behind it in one transaction; `waiting` replaces what waited before.

        Raises LeaseLost, and keeps nothing, if another learner took over.
        """
        held = [{"label_id": each.label_id, "data": msgspec.msgpack.encode(each)} for each in waiting]
        with self._engine.begin() as db:
            if self._lease is not None:
                refuse_zombie(db, self._lease)
            insert_new(db, t.learned_labels, [{"label_id": label.label_id} for label in learned])
            db.execute(delete(t.waiting_labels))
            if held:
                db.execute(insert(t.waiting_labels), held)
            if snapshot is not None:
                _keep_snapshot(db, snapshot)
            keep_positions(db, LEARNER, positions)
            reached("learn.written")


def _keep_snapshot(db: Connection, snapshot: Snapshot) -> None:
    row = {"number": snapshot.number, "model_version": snapshot.model_version, "data": snapshot.encode()}
    db.execute(insert(t.snapshots), [row])
    s, d = t.snapshots.c, t.decisions.c
    named = select(d.event_id).where(d.model_version == s.model_version).exists()
    db.execute(delete(t.snapshots).where(s.number < _kept_from(db, snapshot.number), ~named))


def _kept_from(db: Connection, newest: int) -> int:
    """The number below which a snapshot lives by being named alone.

    Decisions that the recorder has still to write name no older snapshot than the newest that it wrote.
    """
    s, d = t.snapshots.c, t.decisions.c
    last = select(d.model_version).order_by(d.number.desc()).limit(1).scalar_subquery()
    in_use = db.execute(select(s.number).where(s.model_version == last)).scalar()
    if in_use is None:
        return newest - KEPT_UNNAMED + 1
    return min(newest - KEPT_SNAPSHOTS + 1, int(in_use))
