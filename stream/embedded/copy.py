"""A copy of the embedded log as it stood at one moment, while it goes on; and whether a copy is whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from stream.embedded.log import BUSY_SECONDS, FORMAT, LogError

FILE = "log.db"


def copy_log(directory: Path, target: Path) -> None:
    """Write all records and commits of the log in `directory` to one file; raises LogError.

    SQLite's own online backup, in one step: writers go on beside it.
    """
    target.touch(mode=0o600, exist_ok=False)
    try:
        with (
            closing(sqlite3.connect(directory / FILE, timeout=BUSY_SECONDS)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whole by itself
    except sqlite3.Error as error:
        raise LogError(f"the log in {directory} cannot be copied: {error}") from error


def check_copy(file: Path) -> None:
    """Raise LogError where a copy is damaged, or of a format that this Weir does not write."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            (well,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise LogError(f"{file} is no copy of a log: {error}") from error
    if found != FORMAT:
        raise LogError(
            f"{file} is a log of format {found}; this Weir writes {FORMAT}: use the one that made it"
        )
    if well != "ok":
        raise LogError(f"{file} is damaged: {well}")


def holds_records(directory: Path) -> bool:
    """Whether there is a log with anything in it."""
    if not (directory / FILE).exists():
        return False
    try:
        with closing(sqlite3.connect(directory / FILE, timeout=BUSY_SECONDS)) as db:
            return bool(db.execute("SELECT count(*) FROM (SELECT 1 FROM ends LIMIT 1)").fetchone()[0])
    except sqlite3.Error as error:
        raise LogError(f"the log in {directory} cannot be read: {error}") from error


def put_back(file: Path, directory: Path) -> None:
    """Put a copy in the place of the log in `directory`, which nobody may have open."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
        (directory / name).unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(file)) as source,
            closing(sqlite3.connect(directory / FILE)) as log,
        ):
            log.execute("PRAGMA auto_vacuum=INCREMENTAL")
            source.backup(log)
            log.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise LogError(f"the log in {directory} cannot be written: {error}") from error
