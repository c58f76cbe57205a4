"""Files that hold keys: written whole or not at all, on the disk before anything rests on them, for their owner only."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def make_first(file: Path, text: str) -> None:
    """Write a file that is not there; of several processes that do so at once, the first one's text stays."""
    fresh = _fresh(file, text.encode())
    try:
        with suppress(FileExistsError):
            os.link(fresh, file)
    finally:
        fresh.unlink()
    _sync(file.parent)


def replace(file: Path, text: str) -> None:
    """Put a file in the place of what is there: a reader finds the one or the other."""
    _fresh(file, text.encode()).replace(file)
    _sync(file.parent)


def move(file: Path, to: Path) -> None:
    """Give a file the name of another, which is gone then."""
    file.replace(to)
    _sync(to.parent)


def copy(file: Path, to: Path) -> None:
    """Put a copy of a file in the place of another."""
    _fresh(to, file.read_bytes()).replace(to)
    _sync(to.parent)


def _fresh(file: Path, content: bytes) -> Path:
    """The content under another name in the same directory."""
    if not file.parent.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    return fresh


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
