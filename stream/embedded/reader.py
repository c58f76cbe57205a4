"""Reading the embedded log: a place in it, and what comes next, in the order in which it was appended."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing

import msgspec

from stream.records import TP, Record

Body = list[tuple[bytes | None, bytes, tuple[tuple[str, bytes], ...]]]
"""A row's records: key, value, headers."""

Row = tuple[int, str, int, int, int, bytes]

NEWEST = "SELECT coalesce(max(number), 0) FROM batches"
AFTER = """
SELECT number FROM batches WHERE topic = :topic AND part = :part AND after > :offset AND first >= coalesce(
    (SELECT max(first) FROM batches WHERE topic = :topic AND part = :part AND first <= :offset), 0)
ORDER BY first LIMIT 1
"""

_decode = msgspec.msgpack.Decoder(Body).decode


class Reader:
    """A place in the log. It holds no transaction open between fetches, so it stops no checkpoint."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], positions: Mapping[TP, int]) -> None:
        """Stand at these offsets; a position before the oldest record moves up to it.

        `connect` gives the calling thread's connection.
        """
        self._connect = connect
        self.positions = dict(positions)
        topics = sorted({tp.topic for tp in positions})
        # rows in their order, over all topics; an index on the topics would mean to sort them
        self._query = f"""SELECT number, topic, part, first, at_ms, body FROM batches NOT INDEXED
                          WHERE number > ? AND topic IN ({", ".join("?" * len(topics))}) ORDER BY number"""
        self._topics = topics
        self._held: list[Record] = []  # of the last row read, beyond what was asked for
        self._number = self._start()

    def _start(self) -> int:
        """The number before the first row that may hold something new."""
        db = self._connect()
        newest = int(db.execute(NEWEST).fetchone()[0])
        places = [
            {"topic": tp.topic, "part": tp.partition, "offset": at} for tp, at in self.positions.items()
        ]
        rows = [db.execute(AFTER, place).fetchone() for place in places]
        found = [row[0] for row in rows if row]
        return int(min(found)) - 1 if found else newest

    def fetch(self, max_records: int, max_bytes: float = math.inf) -> list[Record]:
        """The next records, at most so many and at least one if there is one; moves on behind them.

        A fetch ends with the row (a megabyte, or a larger record) that reaches `max_bytes`.
        """
        records: list[Record] = []
        self._take(records, self._held, max_records)
        if len(records) < max_records:
            self._read(records, max_records, max_bytes)
        return records

    def close(self) -> None:
        """Nothing is held open between fetches."""

    def _read(self, records: list[Record], max_records: int, max_bytes: float) -> None:
        db, size = self._connect(), 0
        newest = int(db.execute(NEWEST).fetchone()[0])
        with closing(db.execute(self._query, (self._number, *self._topics))) as rows:
            for row in rows:
                self._number = row[0]
                self._take(records, self._open(row), max_records)
                size += len(row[5])
                if len(records) == max_records or (records and size >= max_bytes):
                    return
        self._number = max(self._number, newest)  # no need to pass the other topics' rows again

    def _take(self, records: list[Record], found: list[Record], max_records: int) -> None:
        """Deliver what there is room for of one row's records, and hold the rest."""
        room = max_records - len(records)
        taken, self._held = (found, []) if len(found) <= room else (found[:room], found[room:])
        if taken:
            records += taken
            last = taken[-1]
            self.positions[TP(last.topic, last.partition)] = last.offset + 1

    def _open(self, row: Row) -> list[Record]:
        _, topic, part, first, at_ms, body = row
        wanted = self.positions.get(TP(topic, part))
        if wanted is None:
            return []
        records = [
            Record(topic, part, offset, key, value, headers, at_ms)
            for offset, (key, value, headers) in enumerate(_decode(body), first)
        ]
        return records[max(0, wanted - first) :]
