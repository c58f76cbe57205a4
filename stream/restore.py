"""``weir restore``: puts a backup back, where it cannot harm what is there, and says what the log has to make good.

Everything that could speak against it is looked at before anything is written. Then the keys come first, since the rest
is of no use without them, and SQL last, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from features import redis_copy
from stream import backup_files as at
from stream import bootstrap
from stream.backup import check, key_files, store_prefix
from stream.backup_files import BackupError, Manifest, frames
from stream.broker import directory_of
from stream.config import Config
from stream.embedded.copy import holds_records, put_back
from stream.embedded.log import FORMAT as LOG_FORMAT
from stream.embedded.log import Log
from stream.extents import Extents, at_place, extents
from stream.keyfiles import copy
from stream.readiness import READS
from stream.review import copying
from stream.review.ledger import Ledger
from stream.sealing import KEY_FILE
from stream.up import hold_directory

HELD_BY = {"score": at.REDIS, "record": at.SQL, "learn": at.SQL}
"""By role: the part that keeps how far it came."""


class Behind(NamedTuple):
    """What a role reads again after a restore."""

    role: str
    place: str  # TOPIC/PARTITION
    records: int


def restore(
    config: Config, source: Path, parts: Collection[str], *, replace: bool, say: Callable[[str], None]
) -> list[Behind]:
    """Put these parts (none: all that it has) of the backup in `source` in place; gives what is read again.

    A part that is not empty is refused unless `replace`. Raises BackupError before anything is written, and what a
    part raises that cannot be written.
    """
    manifest = check(source)
    chosen = tuple(part for part in at.PARTS if part in (parts or manifest.parts))
    _refuse_other(config, manifest, chosen)
    with _alone(config):
        if not replace:
            _refuse_full(config, source, chosen)
        _refuse_unreadable(config, manifest, chosen)
        found = _log_after(config, manifest, chosen)
        behind = list(_behind(config, manifest, chosen, found, say))
        _put_back(config, source, chosen)
    return behind


def _put_back(config: Config, source: Path, parts: Collection[str]) -> None:
    if at.KEYS in parts:
        (config.dir / at.KEYS_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in key_files(source / at.KEYS_FOLDER):
            copy(file, config.dir / at.KEYS_FOLDER / file.name)
    if at.LOG in parts:
        put_back(source / at.LOG_FILE, directory_of(config.broker))
    if at.REDIS in parts:
        with _redis(config) as url:
            redis_copy.clear(url, store_prefix(config))
            redis_copy.fill(url, frames(source / at.REDIS_FILE))
    if at.SQL in parts:
        with closing(Ledger.open(config.database)) as ledger:
            copying.make_room(ledger.engine, frames(source / at.SQL_FILE))
            copying.fill(ledger.engine, frames(source / at.SQL_FILE))


@contextmanager
def _redis(config: Config) -> Iterator[str]:
    url, close = bootstrap.redis_for(config)
    try:
        yield url
    finally:
        close()


# --- what speaks against it


def _refuse_other(config: Config, manifest: Manifest, parts: Collection[str]) -> None:
    absent = sorted(set(parts) - set(manifest.parts))
    if absent:
        raise BackupError(f"the backup holds {', '.join(manifest.parts)}, and not {', '.join(absent)}")
    if manifest.topic_prefix != config.topic_prefix:
        raise BackupError(
            f"the backup is of the topic prefix {manifest.topic_prefix!r}, this Weir's is {config.topic_prefix!r}: "
            "set WEIR_TOPIC_PREFIX"
        )
    if at.LOG in parts and not config.embedded:
        raise BackupError(
            "the backup's log is an embedded one, and WEIR_BROKER names Kafka: leave it out with --part"
        )
    known = {at.REDIS: redis_copy.layout(config.redis), at.LOG: str(LOG_FORMAT)}
    for part in parts:
        if known.get(part, manifest.parts[part]) != manifest.parts[part]:
            raise BackupError(
                f"the backup's {part} has format {manifest.parts[part]}, this Weir reads {known[part]}: "
                f"restore it with Weir {manifest.weir}, which made it"
            )


def _refuse_full(config: Config, source: Path, parts: Collection[str]) -> None:
    full = [part for part in parts if _is_full(config, source, part)]
    if full:
        raise BackupError(
            f"there is something already in: {', '.join(full)}. Name the parts to put back (--part), or say --replace to "
            "lose what is there"
        )


def _is_full(config: Config, source: Path, part: str) -> bool:
    if part == at.KEYS:
        return any(
            _differs(file, config.dir / at.KEYS_FOLDER / file.name) for file in key_files(source / part)
        )
    if part == at.LOG:
        return holds_records(directory_of(config.broker))
    if part == at.REDIS:
        with _redis(config) as url:
            return not redis_copy.is_empty(url, store_prefix(config))
    with closing(Ledger.open(config.database)) as ledger:
        return not copying.is_empty(ledger.engine)


def _differs(file: Path, present: Path) -> bool:
    return present.exists() and present.read_bytes() != file.read_bytes()


def _refuse_unreadable(config: Config, manifest: Manifest, parts: Collection[str]) -> None:
    """What is sealed with a key that is not there could never be opened, and no card would be found again."""
    if at.KEYS not in parts:
        key = Path(config.seal_key_file or config.dir / KEY_FILE)
        if not key.exists() or bootstrap.sealer(config).key_id != manifest.key_id:
            raise BackupError(
                f"the backup was made with the seal key {manifest.key_id}, which is not {key}: put that file back first"
            )
    if at.SQL in parts:
        with closing(Ledger.open(config.database)) as ledger, copying.at_one_moment(ledger.engine) as db:
            schema = copying.about(db).schema
        if schema != manifest.parts[at.SQL]:
            raise BackupError(
                f"the backup's SQL has schema {manifest.parts[at.SQL]}, this Weir's is {schema}: restore it with "
                f"Weir {manifest.weir}, which made it, and let this one upgrade the database then"
            )


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """While the block runs no worker does; raises where one does now."""
    with ExitStack() as held:
        held.enter_context(hold_directory(config.dir))
        groups = [bootstrap.group_of(config, role) for role in READS]
        if config.embedded:
            log = Log(directory_of(config.broker))
            for group in groups:
                held.enter_context(log.join(group))
            log.close()
        else:
            _refuse_members(config, groups)
        yield


def _refuse_members(config: Config, groups: list[str]) -> None:
    from stream.kafka_admin import KafkaAdmin

    with KafkaAdmin(config.broker, config.kafka) as admin:
        found = admin.groups(groups)
    working = [name for name in groups if found[name].members]
    if working:
        raise BackupError(f"workers run in the groups {', '.join(working)}: stop them before you restore")


# --- what the log has to make good


def _log_after(config: Config, manifest: Manifest, parts: Collection[str]) -> Extents:
    if at.LOG not in parts:
        return extents(config, bootstrap.TOPICS)
    return {at_place(name): extent for name, extent in manifest.log.items()}


def _behind(
    config: Config,
    manifest: Manifest,
    parts: Collection[str],
    found: Extents,
    say: Callable[[str], None],
) -> Iterator[Behind]:
    """By role and partition: the records between the backup and the log's end. Raises BackupError for a gap."""
    for role, positions in sorted(manifest.positions.items()):
        if HELD_BY.get(role) not in parts:
            continue
        for name, after in sorted(positions.items()):
            first, end = found.get(at_place(name), (0, 0))
            if trouble := _trouble(role, name, after, first, end):
                _gap(config, trouble, fatal=HELD_BY[role] == at.SQL or after > end, say=say)
            yield Behind(role, name, max(0, end - max(first, after)))


def _trouble(role: str, name: str, after: int, first: int, end: int) -> str | None:
    if after > end:
        return (
            f"{name}: the backup has it up to {after}, and the log ends at {end}: it is another log, or has lost what it "
            "had. Restore its own log, or start with an empty database and an empty Redis"
        )
    if after < first:
        return (
            f"{name}: the backup has it up to {after}, and the log begins at {first}: it has let go what the role {role} "
            "needs. Restore a newer backup"
        )
    return None


def _gap(config: Config, trouble: str, *, fatal: bool, say: Callable[[str], None]) -> None:
    """A gap in SQL stays for ever. One in Redis may be older than any window: the score role looks when it starts."""
    if fatal and not config.accept_gap:
        raise BackupError(f"{trouble}, or set WEIR_ACCEPT_GAP=1 to go on without")
    say(trouble)
