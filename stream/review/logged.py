"""The ledger as a training sees it: every decision's features, in the order of recording, and the labels that had arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from sqlalchemy import Engine, func, select

from models.snapshot import Snapshot
from stream.gather import Logged
from stream.review import tables as t

SOME = 2_000
"""Decisions that are in memory at a time."""


class Past:
    """What was decided, for one who learns from all of it at once."""

    def __init__(self, engine: Engine) -> None:
        """Read from the ledger's database."""
        self._reading = engine.execution_options(reading=True)

    def clock_us(self) -> int | None:
        """The latest arrival of a decision; None where there is none."""
        with self._reading.connect() as db:
            return db.execute(select(func.max(t.decisions.c.arrived_us))).scalar()

    def count(self, until_us: int) -> int:
        """How many decisions there are of events that arrived before `until_us`."""
        query = select(func.count()).where(t.decisions.c.arrived_us < until_us)
        with self._reading.connect() as db:
            return int(db.execute(query).scalar_one())

    def decisions(self, until_us: int) -> Iterator[list[Logged]]:
        """The decisions of events that arrived before `until_us`, in the order in which they were recorded."""
        d, decoder = t.decisions.c, msgspec.json.Decoder(Logged)
        query = select(d.record).where(d.arrived_us < until_us).order_by(d.number)
        with self._reading.connect() as db:
            found = db.execution_options(stream_results=True, yield_per=SOME).execute(query)
            for part in found.scalars().partitions():
                yield [decoder.decode(record) for record in part]

    def labels(self, until_us: int) -> dict[str, bool]:
        """By event: whether it is a fraud, as the newest label said that had arrived before `until_us`."""
        c = t.labels.c
        query = select(c.event_id, c.fraud).where(c.arrived_us < until_us).order_by(c.arrived_us, c.label_id)
        said: dict[str, bool] = {}
        with self._reading.connect() as db:
            found = db.execution_options(stream_results=True, yield_per=SOME).execute(query)
            for event_id, fraud in found:
                said[event_id] = fraud
        return said

    def hashes(self) -> dict[str, Mapping[str, str]]:
        """By version of a feature set: what each feature measured, as far as models that are kept tell."""
        told: dict[str, Mapping[str, str]] = {}
        with self._reading.connect() as db:
            for data in db.execute(select(t.snapshots.c.data)).scalars():
                snapshot = Snapshot.decode(data)
                if snapshot.hashes:
                    told[snapshot.features_version] = dict(
                        zip(snapshot.features, snapshot.hashes, strict=True)
                    )
        return told
