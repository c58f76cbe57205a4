"""Following one topic of the embedded log."""

from __future__ import annotations

import time

from stream.embedded.log import Log
from stream.records import TP, Record

READ_BYTES = 32_000_000
"""Of one read: a few of the largest snapshots."""

PAUSE_SECONDS = 0.25
"""Between two looks where nothing new was: each costs a query, however busy the other topics are."""


class LogTail:
    """A topic from its beginning on (stream.records.Tail)."""

    def __init__(self, log: Log, topic: str) -> None:
        """Begin at the oldest record."""
        self._log, self._topic = log, topic
        self.rewind()

    def read(self) -> list[Record]:
        """The next records; raises LogError."""
        records = self._reader.fetch(1_000, READ_BYTES)
        if not records and self.at_end():
            time.sleep(PAUSE_SECONDS)
        return records

    def catch_up(self) -> list[Record]:
        """All that stands there by now and was not read yet; raises LogError."""
        found: list[Record] = []
        while records := self._reader.fetch(1_000, READ_BYTES):
            found += records
        return found

    def at_end(self) -> bool:
        """Whether all was read that was there at the beginning."""
        return all(self._reader.positions[tp] >= end for tp, end in self._ends.items())

    def rewind(self) -> None:
        """Begin anew."""
        ends = self._log.end_offsets(self._topic)
        self._ends = {TP(self._topic, part): end for part, end in ends.items()}
        self._reader = self._log.reader(dict.fromkeys(self._ends, 0))

    def close(self) -> None:
        """Close this thread's connection."""
        self._log.close()
