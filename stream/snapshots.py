"""Snapshots of the feature store alone, taken while it works (``weir snapshot``), and the newest put back where Redis lost all.

How far it holds the log lies inside a snapshot, so whoever starts on it reads on from there.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import msgspec

from features import redis_copy, redis_snapshot
from features.generations import Generation, Live
from features.redis_nodes import is_cluster
from features.store import StoreUnavailable
from stream import bootstrap
from stream.backup_files import Stored, stored
from stream.children import lower
from stream.config import Config
from stream.embedded.server import ServerError, reading

logger = logging.getLogger(__name__)

KEPT = 2
"""The newest snapshots; the one before the newest is for the case that it is damaged."""

RDB, ABOUT = ".rdb", ".json"
LOOK_SECONDS = 0.5


class Periodic:
    """Takes a snapshot now and then while this process lives, each in a process of its own, of lower priority."""

    def __init__(self, config: Config, every_us: int) -> None:
        """The first is taken after that time."""
        self._environment = {**os.environ, **config.environment()}
        self._every_s = every_us / 1e6
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="snapshots", daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            done = subprocess.run(
                [sys.executable, "-m", "stream", "snapshot"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                preexec_fn=lower,
                check=False,
            )
            if done.returncode:
                logger.error("no snapshot of the feature store was taken: see above")

    def stop(self) -> None:
        """Take no more."""
        self._ended.set()


class About(msgspec.Struct, frozen=True):
    """What is to be known of a snapshot."""

    file: Stored
    database: int  # the number of Redis' database
    store: str  # the name of the stores in it: a tenant's own


def folder_of(config: Config) -> Path:
    """Where snapshots lie."""
    return config.dir / "snapshots"


def take(config: Config) -> Path:
    """Take one, and drop those that are too old.

    Raises StoreUnavailable for a cluster, and where Redis gives its data to nobody.
    """
    if is_cluster(config.redis):
        raise StoreUnavailable(
            "a snapshot is of one server, and WEIR_REDIS is a cluster: take a `weir backup`"
        )
    folder = folder_of(config)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    url, close = bootstrap.redis_for(config)
    partial = folder / f"{name}.partial"
    try:
        database = redis_copy.fetch_snapshot(url, partial)
    finally:
        close()
    file = partial.rename(folder / (name + RDB))
    about = About(stored(file), database, bootstrap.store_name(config))
    written = folder / f"{name}{ABOUT}.new"
    written.write_bytes(msgspec.json.encode(about))
    written.rename(folder / (name + ABOUT))
    for old in _all(folder)[KEPT:]:
        old.unlink()
        old.with_suffix(RDB).unlink(missing_ok=True)
    return file


def _all(folder: Path) -> list[Path]:
    """What is said of each that is whole, the newest first."""
    return sorted(folder.glob(f"*{ABOUT}"), reverse=True)


def newest(config: Config) -> tuple[Path, About] | None:
    """The newest snapshot that is as it was written."""
    for path in _all(folder_of(config)):
        try:
            about = msgspec.json.decode(path.read_bytes(), type=About)
            file = path.with_suffix(RDB)
            if about.store == bootstrap.store_name(config) and stored(file) == about.file:
                return file, about
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("the snapshot %s cannot be read: %s", path, error)
            continue
        logger.warning(
            "the snapshot %s is not as it was written, or another tenant's: it is passed over", path
        )
    return None


def put_back(config: Config, url: str, live: Live, generation: Generation) -> bool:
    """Put the newest snapshot into a Redis that lost all of the store; whether there was one, and it did.

    Of several workers that start one does it, and the others wait for it. Raises StoreUnavailable.
    """
    if is_cluster(url):
        return False  # its nodes' replicas are for that
    name = bootstrap.store_name(config)
    begun = f"{name}restoring"
    if not redis_snapshot.is_lost(url, name, begun):
        return False
    if not _all(folder_of(config)) and not redis_snapshot.is_begun(url, begun):
        return False
    holder = str(uuid4())
    while not live.hold(generation, holder):
        time.sleep(LOOK_SECONDS)
    try:
        found = newest(config)
        if not redis_snapshot.is_lost(url, name, begun):
            return False
        redis_copy.clear(url, redis_copy.prefix_of(name))
        if found is not None and _poured(config, url, begun, *found):
            return True
        redis_snapshot.give_up(url, begun)
        return False
    finally:
        live.let_go(generation, holder)


def _poured(config: Config, url: str, begun: str, file: Path, about: About) -> bool:
    began = time.monotonic()
    inside = Path(mkdtemp(dir=folder_of(config)))
    try:
        os.link(file, inside / file.name)
        with reading(inside, file.name) as server:
            prefix = redis_copy.prefix_of(about.store)
            commands, heads = redis_snapshot.commands_of(f"{server}?db={about.database}", prefix, inside)
            redis_snapshot.pour(url, commands, heads, begun)
    except ServerError as error:
        logger.error("the snapshot %s cannot be loaded: %s", file, error)
        return False
    finally:
        shutil.rmtree(inside)
    logger.warning(
        "Redis held nothing: the snapshot %s was put back in %.1f s, and what came since is read from the log",
        *(file.name, time.monotonic() - began),
    )
    return True
