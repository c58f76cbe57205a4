"""A run of one partition's records on its way to the store: as it was taken from the log, and what of it are events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from features.store import Run, Source
from stream.codec import Decoded
from stream.letters import DeadLetter
from stream.records import Record


class Taken(NamedTuple):
    """A run of one partition's records, and where it lies there."""

    records: Sequence[Record]
    source: Source | None = None
    condemned: str = ""  # why they are not to be looked at, but become dead letters


def run_of(decoded: Sequence[Decoded], taken: Taken) -> Run:
    """What of a run of records the store is to see, and where each of it lies."""
    events = [event for event in decoded if not isinstance(event, DeadLetter)]
    if taken.source is None:
        return Run(events)
    placed = zip(taken.records, decoded, strict=True)
    offsets = [record.offset for record, event in placed if not isinstance(event, DeadLetter)]
    return Run(events, taken.source._replace(offsets=offsets))
