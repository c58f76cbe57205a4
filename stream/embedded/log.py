"""A durable, append-only log on one machine: topics, partitions, offsets and consumer groups in SQLite.

One row holds a whole appended batch, so that an append costs one insert and a fetch one read. Rows are numbered in
the order in which they were appended, over all topics: readers get what was appended first, first.
Readers sleep on a unix datagram socket that every append pokes. A group's single member holds a file lock, which
dies with its process.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from stream.embedded.reader import Body, Reader
from stream.embedded.wake import Waker, wake
from stream.partition import parted
from stream.records import TP, Outgoing, Record

BUSY_SECONDS = 30.0
"""How long a writer waits for another: appends take milliseconds, a checkpoint at worst a second."""

WEEK_MS = 7 * 86_400_000
"""How long a topic keeps its records unless it is told otherwise; Kafka's own default."""

WAL_BYTES, WAL_SECONDS = 32_000_000, 0.1
"""From this size on the write-ahead log is started anew, which waits so long at most for those who read in it.

SQLite does so by itself only in a moment without any reader; with four busy ones none came while it grew by 40 MB/s.
"""

ROW_RECORDS, ROW_BYTES = 1_000, 1_000_000
"""One row holds at most so much (a larger record lies alone), so that readers can stop in between."""

DROP_ROWS, FREE_PAGES = 8, 500
"""Rows dropped, and pages given back to the disk, in one step of retention: writers wait no longer than that."""

BREATH_SECONDS = 0.002
"""Between two steps of retention, so that the writers who wait get their turn."""

FORMAT = 1
"""Of the tables below. A log of another format is refused, not guessed at."""

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS topics (
    name TEXT PRIMARY KEY, partitions INTEGER NOT NULL,
    retention_ms INTEGER, retention_bytes INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, part INTEGER NOT NULL,
    first INTEGER NOT NULL, after INTEGER NOT NULL, at_ms INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS batches_by_offset ON batches (topic, part, first);
CREATE TABLE IF NOT EXISTS ends (
    topic TEXT, part INTEGER, after INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (
    member TEXT, topic TEXT, part INTEGER, after INTEGER NOT NULL, PRIMARY KEY (member, topic, part)) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""

COMPACTED = "CREATE TABLE IF NOT EXISTS compacted (topic TEXT PRIMARY KEY) WITHOUT ROWID"
"""Younger than the format: a Weir that does not know it keeps such a topic as any other."""

ROWS = "SELECT number, after, at_ms, length(body) FROM batches WHERE topic = ? AND part = ? ORDER BY first LIMIT ?"
APPEND = "INSERT INTO batches (topic, part, first, after, at_ms, body) VALUES (?, ?, ?, ?, ?, ?)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode


class LogError(Exception):
    """The log cannot do what was asked: why, and what to do."""


class GroupTaken(LogError):
    """A consumer group has its one member already."""


class Log:
    """The log of one directory. Any number of processes and threads may append and read at once."""

    def __init__(self, directory: Path) -> None:
        """Open the log of `directory`, making it if need be; raises LogError when it cannot be read."""
        self.directory = directory
        (directory / "wake").mkdir(parents=True, exist_ok=True)
        (directory / "groups").mkdir(exist_ok=True)
        self._local = threading.local()
        self._partitions: dict[str, int] = {}
        self._wal_limit = WAL_BYTES
        self._prepare()

    # --- topics

    def ensure_topic(
        self,
        name: str,
        partitions: int = 1,
        retention_ms: int | None = WEEK_MS,
        retention_bytes: int | None = None,
    ) -> None:
        """Make a topic, or see that it has so many partitions; raises LogError when it has another number.

        Records older than `retention_ms`, and the oldest of a partition of more than `retention_bytes`, are dropped
        by `retain`; None keeps them. A topic that exists keeps the retention it was made with.
        """
        with self._transaction() as db:
            row = (name, partitions, retention_ms, retention_bytes)
            db.execute("INSERT OR IGNORE INTO topics VALUES (?, ?, ?, ?)", row)
            (found,) = db.execute("SELECT partitions FROM topics WHERE name = ?", (name,)).fetchone()
        if found != partitions:
            raise LogError(
                f"the topic {name} has {found} partitions, not {partitions}: "
                "its keys would move; send to a new topic instead"
            )
        self._partitions[name] = partitions

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; a topic that nobody made has one."""
        if topic not in self._partitions:
            found = self._rows("SELECT partitions FROM topics WHERE name = ?", topic)
            if found:
                self._partitions[topic] = found[0][0]
            else:
                self.ensure_topic(topic)
        return self._partitions[topic]

    def retention_ms(self, topic: str) -> int | None:
        """For how long a topic keeps its records; None: for ever."""
        found = self._rows("SELECT retention_ms FROM topics WHERE name = ?", topic)
        return found[0][0] if found else WEEK_MS

    def compact(self, topic: str) -> None:
        """Let `retain` keep the newest record of each of a topic's keys, however old, and drop the others."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO compacted VALUES (?)", (topic,))

    # --- appending

    def publish(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append records, each to its key's partition; they are on disk when this returns."""
        self.append_many({topic: records})

    def append(self, topic: str, records: Sequence[Outgoing]) -> dict[TP, range]:
        """The same, and gives by partition the offsets that the records got."""
        return self.append_many({topic: records})

    def append_many(self, batches: Mapping[str, Sequence[Outgoing]]) -> dict[TP, range]:
        """Append to several topics in one transaction: all of it is there after a crash, or nothing.

        Gives by partition the offsets that the records got, in their order. Raises LogError when the disk is full,
        and TypeError for what is no record of bytes.
        """
        rows = [
            (TP(topic, part), count, body)
            for topic, records in batches.items()
            for part, group in parted(records, self.partitions(topic)).items()
            for count, body in _bodies(group)
        ]
        if not rows:
            return {}
        at_ms = time.time_ns() // 1_000_000
        given: dict[TP, range] = {}
        with self._transaction() as db:
            for tp, count, body in rows:
                offsets = _insert(db, tp, count, at_ms, body)
                given[tp] = range(given[tp].start if tp in given else offsets.start, offsets.stop)
        wake(self.directory / "wake")
        return given

    # --- fetching

    def reader(self, positions: Mapping[TP, int]) -> Reader:
        """Read these partitions from these offsets on, in the order in which they were appended."""
        return Reader(self.connection, positions)

    def fetch(self, positions: Mapping[TP, int], max_records: int = 500) -> list[Record]:
        """The next records of these partitions, in the order in which they were appended."""
        return self.reader(positions).fetch(max_records)

    def record_at(self, tp: TP, offset: int) -> Record | None:
        """The oldest record of a partition at or behind an offset; None where the log ends before it."""
        return next(iter(self.fetch({tp: offset}, 1)), None)

    def waker(self) -> Waker:
        """Hear of appends by any process from now on."""
        return Waker(self.directory / "wake")

    def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the offset that the next record will get."""
        return self._by_partition(topic, self._rows("SELECT part, after FROM ends WHERE topic = ?", topic))

    def first_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the oldest offset that is still there; the end where nothing is."""
        query = "SELECT min(first) FROM batches WHERE topic = ? AND part = ?"
        ends = self.end_offsets(topic).items()
        firsts = {part: self._rows(query, topic, part)[0][0] for part, _ in ends}
        return {part: end if firsts[part] is None else firsts[part] for part, end in ends}

    # --- groups

    def commit(self, group: str, positions: Mapping[TP, int]) -> None:
        """Keep from where a group's next member starts."""
        rows = [(group, tp.topic, tp.partition, offset) for tp, offset in positions.items()]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)", rows)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """By partition: the offset from which a group's next member would start (0 where it never committed)."""
        query = "SELECT part, after FROM commits WHERE member = ? AND topic = ?"
        return self._by_partition(topic, self._rows(query, group, topic))

    def forget_group(self, group: str) -> None:
        """Forget what a group committed, so that retention waits for it no more; it would start anew."""
        with self._transaction() as db:
            db.execute("DELETE FROM commits WHERE member = ?", (group,))

    def join(self, group: str) -> IO[str]:
        """Become the one member of a group, until the file is closed or the process dies; raises GroupTaken."""
        lock = (self.directory / "groups" / f"{group}.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            lock.close()
            raise GroupTaken(
                f"the group {group} has its member already: process {pid}. The embedded log gives a group one member; "
                "stop that process, or move to Kafka to have several"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    # --- keeping it small

    def retain(self) -> int:
        """Drop what every topic's retention lets go; gives the number of rows (batches) dropped.

        Nothing is dropped that a group which ever committed on the topic has still to read. Dropped space is first
        filled again by new records; what was not filled until the next call goes back to the disk then.
        """
        self._give_back(self._rows("PRAGMA freelist_count")[0][0])
        now_ms = time.time_ns() // 1_000_000
        dropped = 0
        compacted = {topic for (topic,) in self._rows("SELECT topic FROM compacted")}
        for topic, count, age, size in self._rows("SELECT * FROM topics"):
            for part in range(count):
                if topic in compacted:
                    dropped += self._compact(TP(topic, part))
                    continue
                while some := self._drop(TP(topic, part), now_ms - age if age is not None else None, size):
                    dropped += some
                    time.sleep(BREATH_SECONDS)
        return dropped

    def _drop(self, tp: TP, before_ms: int | None, keep_bytes: int | None) -> int:
        """One step: drop some of the oldest rows of a partition, as far as they may go."""
        with self._transaction() as db:
            query = "SELECT min(after) FROM commits WHERE topic = ? AND part = ?"
            (unread,) = db.execute(query, tp).fetchone()
            row = db.execute("SELECT bytes FROM ends WHERE topic = ? AND part = ?", tp).fetchone()
            kept, gone = row[0] if row else 0, []
            for number, after, at_ms, size in db.execute(ROWS, (*tp, DROP_ROWS)).fetchall():
                old = before_ms is not None and at_ms < before_ms
                many = keep_bytes is not None and kept > keep_bytes
                if not (old or many) or (unread is not None and after > unread):
                    break
                gone.append((number,))
                kept -= size
            db.executemany("DELETE FROM batches WHERE number = ?", gone)
            db.execute("UPDATE ends SET bytes = ? WHERE topic = ? AND part = ?", (kept, *tp))
        return len(gone)

    def _compact(self, tp: TP) -> int:
        """Drop the rows of which every record has a newer one of its key; one row is read at a time, the newest first."""
        query = "SELECT number FROM batches WHERE topic = ? AND part = ? ORDER BY first DESC"
        seen: set[bytes | None] = set()
        gone: list[int] = []
        for (number,) in self._rows(query, *tp):
            for (body,) in self._rows("SELECT body FROM batches WHERE number = ?", number):
                keys = {key for key, _, _ in _decode(body)}
                if keys <= seen:
                    gone.append(number)
                seen |= keys
        for start in range(0, len(gone), DROP_ROWS):
            self._drop_rows(tp, gone[start : start + DROP_ROWS])
        return len(gone)

    def _drop_rows(self, tp: TP, numbers: Sequence[int]) -> None:
        marks = ", ".join("?" * len(numbers))
        with self._transaction() as db:
            rows = db.execute(
                f"DELETE FROM batches WHERE number IN ({marks}) RETURNING length(body)", list(numbers)
            )
            size = sum(length for (length,) in rows.fetchall())
            db.execute("UPDATE ends SET bytes = bytes - ? WHERE topic = ? AND part = ?", (size, *tp))

    def _give_back(self, pages: int) -> None:
        """Return free pages to the disk, a step at a time, so that appends in between wait for milliseconds."""
        for _ in range(0, pages, FREE_PAGES):
            with self._turn() as db:
                db.executescript(
                    f"PRAGMA incremental_vacuum({FREE_PAGES})"
                )  # execute would free a single page
            time.sleep(BREATH_SECONDS)
        if pages:
            with self._turn() as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close this thread's connection; nothing is lost by not calling it."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.turn.close()
            self._local.db = None

    # --- inside

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(self.directory / "log.db", timeout=BUSY_SECONDS, isolation_level=None)
            db.execute("PRAGMA synchronous=FULL")
            self._local.db = db
            self._local.turn = (self.directory / "write.lock").open("a")
        return db

    def _prepare(self) -> None:
        """Make the tables; one process at a time, since SQLite does not wait where the journal's mode changes."""
        with (self.directory / "open.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                db = self.connection()
                (found,) = db.execute("PRAGMA user_version").fetchone()
                if found == 0:
                    db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # counts only before the first table is made
                    db.execute("PRAGMA journal_mode=WAL")
                    db.executescript(SCHEMA)
                if found in (0, FORMAT):
                    db.execute(COMPACTED)
            except sqlite3.Error as error:
                raise LogError(f"the log in {self.directory} cannot be opened: {error}") from error
        if found not in (0, FORMAT):
            raise LogError(
                f"the log in {self.directory} has format {found}; this Weir writes {FORMAT}: use the one that made it"
            )

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            return self.connection().execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise LogError(f"the log in {self.directory} cannot be read: {error}") from error

    def _by_partition(self, topic: str, rows: Sequence[tuple[int, int]]) -> dict[int, int]:
        found = dict(rows)
        return {part: found.get(part, 0) for part in range(self.partitions(topic))}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self._bound_wal(db)

    def _bound_wal(self, db: sqlite3.Connection) -> None:
        size = os.stat(self.directory / "log.db-wal").st_size
        if size < self._wal_limit:
            return
        db.execute(f"PRAGMA busy_timeout = {1000 * WAL_SECONDS:.0f}")
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")
        self._wal_limit = (
            size + WAL_BYTES if busy else WAL_BYTES
        )  # a reader that hangs is not waited for each time

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """This thread's turn to write. Writers queue at a lock of the system's; SQLite's own is asked again and again.

        Measured with four processes that do nothing but append: the slowest append took 3 s there, .1 s here.
        """
        db = self.connection()
        fcntl.flock(self._local.turn, fcntl.LOCK_EX)
        try:
            yield db
        except sqlite3.Error as error:
            raise LogError(f"the log in {self.directory} cannot be written: {error}") from error
        finally:
            fcntl.flock(self._local.turn, fcntl.LOCK_UN)


def _bodies(records: Sequence[Outgoing]) -> Iterator[tuple[int, bytes]]:
    """Records as the bodies of rows, each with its number of records."""
    for start in range(0, len(records), ROW_RECORDS):
        yield from _split(records[start : start + ROW_RECORDS])


def _split(records: Sequence[Outgoing]) -> Iterator[tuple[int, bytes]]:
    body = _encode([(record.key, record.value, record.headers) for record in records])
    if len(body) <= ROW_BYTES or len(records) == 1:
        _check(body)
        yield len(records), body
        return
    half = len(records) // 2
    yield from _split(records[:half])
    yield from _split(records[half:])


def _check(body: bytes) -> None:
    """What cannot be read back would stop every reader for good."""
    try:
        _decode(body)
    except msgspec.ValidationError as error:
        raise TypeError(f"a record's key, value and headers are bytes, and these are not: {error}") from error


def _insert(db: sqlite3.Connection, tp: TP, count: int, at_ms: int, body: bytes) -> range:
    row = db.execute("SELECT after, bytes FROM ends WHERE topic = ? AND part = ?", tp).fetchone()
    first, size = row or (0, 0)
    db.execute(APPEND, (*tp, first, first + count, at_ms, body))
    db.execute("INSERT OR REPLACE INTO ends VALUES (?, ?, ?, ?)", (*tp, first + count, size + len(body)))
    return range(first, first + count)
