"""What a backup looks like on disk: a folder of files, and a manifest that says what they are and how to know them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

FORMAT = 1
"""Of the folder; another is refused, not guessed at."""

MANIFEST = "manifest.json"
SQL_FILE, REDIS_FILE, LOG_FILE, KEYS_FOLDER = "sql.rows", "redis.keys", "log.db", "keys"
SQL, REDIS, LOG, KEYS = "sql", "redis", "log", "keys"
PARTS = (SQL, REDIS, LOG, KEYS)

PIECE = 1 << 20

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class BackupError(Exception):
    """A backup that cannot be made or used: why, and what to do."""


class Stored(msgspec.Struct, frozen=True):
    """A file, so that a damaged one is known."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds."""

    format: int
    weir: str  # the version that made it
    made_at: str  # ISO 8601, UTC
    profile: str
    topic_prefix: str
    key_id: str  # names the seal key without which it is of no use
    parts: dict[str, str]  # by part: the version of its own format
    positions: dict[str, dict[str, int]]  # by role, by TOPIC/PARTITION: the offset from which it goes on
    log: dict[str, tuple[int, int]]  # by TOPIC/PARTITION: the oldest offset on the log then, and its end
    files: dict[str, Stored]


class FrameWriter:
    """Writes values one after the other into a new file that only its owner reads."""

    def __init__(self, file: Path) -> None:
        """Make the file."""
        self._out = open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()

    def write(self, value: object) -> None:
        """Add one value."""
        frame = _encode(value)
        self._out.write(len(frame).to_bytes(4, "big") + frame)


def frames(file: Path) -> Iterator[Any]:
    """The values of a file, in their order."""
    with file.open("rb") as source:
        while head := source.read(4):
            yield _decode(source.read(int.from_bytes(head, "big")))


def stored(file: Path) -> Stored:
    """What is to be known of a file."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as source:
        while piece := source.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return Stored(size, digest.hexdigest())


def files_of(folder: Path) -> dict[str, Stored]:
    """All files of a backup but its manifest, by their path in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): stored(path) for path in paths}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Say what the folder holds."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with open(os.open(folder / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(text + b"\n")
        out.flush()
        os.fsync(out.fileno())


def verified(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all there and as they were written; raises BackupError."""
    manifest = _read(folder / MANIFEST)
    for name, expected in manifest.files.items():
        if not (folder / name).is_file():
            raise BackupError(f"the backup {folder} lacks its file {name}: it is not whole, use another")
        if stored(folder / name) != expected:
            raise BackupError(
                f"the backup {folder} is damaged: {name} is not as it was written. Use another backup"
            )
    return manifest


def _read(file: Path) -> Manifest:
    if not file.exists():
        raise BackupError(f"{file.parent} is no backup: it has no {MANIFEST}, which is written last")
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any]).get("format")
        if found == FORMAT:
            return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{file} is damaged: {error}. Use another backup") from error
    raise BackupError(
        f"the backup {file.parent} has format {found}; this Weir reads {FORMAT}: restore it with the Weir that made it"
    )
