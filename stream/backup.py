"""``weir backup``: a copy of everything that Weir keeps, taken while it runs, and read again before it is called one.

Each part is a picture of one moment, and not the same one: SQL and Redis keep with their data how far they read the log,
so each catches up from there. The log is copied last, so that it holds all that the others have seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from features import redis_copy
from features.profile import load as load_profile
from features.redis_store import base_key
from stream import backup_files as at
from stream import bootstrap
from stream.backup_files import BackupError, FrameWriter, Manifest
from stream.broker import directory_of
from stream.config import Config
from stream.embedded.copy import check_copy, copy_log
from stream.embedded.log import FORMAT as LOG_FORMAT
from stream.embedded.server import reading
from stream.extents import extents, place
from stream.filling import HISTORY
from stream.keyfiles import copy
from stream.review import copying
from stream.review.ledger import Ledger

SNAPSHOT = "snapshot.rdb"

Positions = dict[str, dict[str, int]]


def store_prefix(config: Config) -> str:
    """What every key of this Weir's in Redis begins with."""
    return redis_copy.prefix_of(bootstrap.store_name(config))


def back_up(config: Config, target: Path, *, keys: bool, say: Callable[[str], None]) -> Manifest:
    """Write a backup to the folder `target`, which must not exist; with the secret `keys` only if asked.

    An interrupted one leaves TARGET.partial. Raises BackupError, and what a part raises that cannot be read.
    """
    folder = _begun(target)
    key_id = bootstrap.sealer(config).key_id
    parts: dict[str, str] = {}
    positions = _copy_redis(config, folder, parts, say)
    positions |= _copy_sql(config, folder, parts)
    if config.embedded:
        copy_log(directory_of(config.broker), folder / at.LOG_FILE)
        parts[at.LOG] = str(LOG_FORMAT)
    if keys:
        _copy_keys(config.dir / at.KEYS_FOLDER, folder / at.KEYS_FOLDER)
        parts[at.KEYS] = key_id
    manifest = _manifest(config, folder, key_id, parts, positions)
    at.write_manifest(folder, manifest)
    check(folder)
    folder.rename(target)
    return manifest


def _begun(target: Path) -> Path:
    partial = target.with_name(f"{target.name}.partial")
    for path in (target, partial):
        if path.exists():
            raise BackupError(
                f"{path} is there already: a backup never overwrites anything; name another, or remove it"
            )
    partial.mkdir(parents=True, mode=0o700)
    return partial


def _manifest(
    config: Config, folder: Path, key_id: str, parts: dict[str, str], positions: Positions
) -> Manifest:
    found = extents(config, bootstrap.TOPICS)
    return Manifest(
        format=at.FORMAT,
        weir=version("weir"),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        profile=config.profile,
        topic_prefix=config.topic_prefix,
        key_id=key_id,
        parts=parts,
        positions=positions,
        log={place(tp): extent for tp, extent in sorted(found.items())},
        files=at.files_of(folder),
    )


def check(folder: Path) -> Manifest:
    """Read a whole backup: every file as it was written, and what it holds as a restore would read it.

    Raises BackupError, or LogError for a log that is damaged.
    """
    manifest = at.verified(folder)
    for name in (at.SQL_FILE, at.REDIS_FILE):
        for _ in at.frames(folder / name):
            pass
    if at.LOG in manifest.parts:
        check_copy(folder / at.LOG_FILE)
    return manifest


# --- SQL


def _copy_sql(config: Config, folder: Path, parts: dict[str, str]) -> Positions:
    ledger = Ledger.open(config.database)
    try:
        with copying.at_one_moment(ledger.engine) as db, FrameWriter(folder / at.SQL_FILE) as out:
            about = copying.about(db)
            for some in copying.rows(db):
                out.write(some)
    finally:
        ledger.close()
    parts[at.SQL] = about.schema
    return about.positions


# --- Redis


def _copy_redis(config: Config, folder: Path, parts: dict[str, str], say: Callable[[str], None]) -> Positions:
    url, closing = bootstrap.redis_for(config)
    try:
        found = _redis_positions(config, url, folder, say)
    finally:
        closing()
    parts[at.REDIS] = redis_copy.layout(url)
    features = load_profile(config.profile).features
    held = redis_copy.held_by(found, base_key(bootstrap.store_name(config), features).decode())
    return {"score": {name: at for name, at in held.items() if not name.startswith(HISTORY)}}


def _redis_positions(config: Config, url: str, folder: Path, say: Callable[[str], None]) -> Positions:
    prefix, inside = store_prefix(config), folder / "redis"
    inside.mkdir(mode=0o700)
    try:
        names = [(f"{number}-{SNAPSHOT}", server) for number, server in enumerate(redis_copy.servers(url))]
        databases = [redis_copy.fetch_snapshot(server, inside / name) for name, server in names]
    except redis_copy.SnapshotRefused as refused:
        say(f"{refused}; so its keys are read one by one, which must find nothing applied meanwhile")
        return _copy_still(url, prefix, folder / at.REDIS_FILE)
    else:
        return _copy_snapshots(inside, [name for name, _ in names], databases, prefix, folder / at.REDIS_FILE)
    finally:
        shutil.rmtree(inside)


def _copy_snapshots(
    inside: Path, names: Sequence[str], databases: Sequence[int], prefix: str, file: Path
) -> Positions:
    """The snapshot of a server, or of all nodes of a cluster: each shard tells for itself how far it had come."""
    positions: Positions = {}
    with FrameWriter(file) as out:
        for name, database in zip(names, databases, strict=True):
            with reading(inside, name) as copy:
                positions |= _copy_keys_of(f"{copy}?db={database}", prefix, out)
    return positions


def _copy_still(url: str, prefix: str, file: Path) -> Positions:
    before = redis_copy.marks(url, prefix)
    with FrameWriter(file) as out:
        found = _copy_keys_of(url, prefix, out)
    if redis_copy.marks(url, prefix) != before:
        raise BackupError(
            "features changed while they were copied: stop the score workers while the backup runs, or let Weir's Redis "
            "user copy all data at once (ACL: +sync)"
        )
    return found


def _copy_keys_of(url: str, prefix: str, out: FrameWriter) -> Positions:
    positions: Positions = {}
    for some in redis_copy.entries(url, prefix):
        out.write(some)
        positions |= redis_copy.positions_in(some)
    return positions


# --- keys


def _copy_keys(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    for file in key_files(source):
        copy(file, target / file.name)


def key_files(folder: Path) -> Sequence[Path]:
    """The files of a folder of keys."""
    files: Iterable[Path] = folder.iterdir() if folder.exists() else ()
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))
