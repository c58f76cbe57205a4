"""Goes to every part of a set-up and asks it how it is; what cannot be asked is a finding too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from features.profile import Profile
from features.profile import load as load_profile
from features.redis_server import redis_facts
from features.store import StoreUnavailable
from stream import bootstrap, doctor
from stream.broker import directory_of
from stream.config import SECRET_FILES, Config
from stream.decisions import TRANSACTIONS
from stream.doctor import Finding, Reader, State
from stream.embedded.log import Log
from stream.embedded.server import running
from stream.emit import utc_text
from stream.extents import extents
from stream.filled import filled, lacking
from stream.lag import waiting
from stream.readiness import READS
from stream.review.ledger import Ledger
from stream.review.partitions import kept as kept_partitions
from stream.secret import scrubbed
from stream.topics import KEYED, RATES, wanted

if TYPE_CHECKING:
    from stream.kafka_admin import Group, KafkaAdmin

NEWEST = 3
"""Reasons of dead letters that are shown."""


LOOKED_AT = 50_000
"""Keys of each Redis that are looked at for old generations."""


class Examination(msgspec.Struct):
    """What was found, and who is how far behind."""

    findings: list[Finding]
    readers: list[Reader]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state is not State.WRONG for finding in self.findings)


def examine(config: Config) -> Examination:
    """Look at everything, change nothing."""
    findings: list[Finding] = []
    readers: list[Reader] = []

    def ask(what: str, look: Callable[[], Iterable[Finding]]) -> None:
        try:
            findings.extend(look())
        except Exception as error:  # noqa: BLE001 - whatever keeps a part from answering is what is wrong with it
            findings.append(Finding(what, State.WRONG, str(error) or type(error).__name__))

    ask("profile", lambda: doctor.check_profile(load_profile(config.profile)))
    ask("database", lambda: _database(config))
    ask("redis", lambda: _redis(config))
    ask("features", lambda: _features(config))
    ask("keys", lambda: _modes(config))
    ask("encryption", lambda: _encryption(config))
    ask("schema registry", lambda: _registry(config))
    ask("rates", lambda: _rates(config))
    ask("log", lambda: (_embedded if config.embedded else _kafka)(config, readers))
    findings += [doctor.check_reader(reader) for reader in readers]
    return Examination([_scrubbed(finding) for finding in findings], readers)


def _scrubbed(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, found=scrubbed(finding.found), mend=scrubbed(finding.mend))


def _database(config: Config) -> Iterable[Finding]:
    if not _made(config):
        yield Finding("database", State.NOTE, "not made yet", "weir up, or a worker, makes it")
        return
    ledger = Ledger.open(config.database)
    try:
        yield Finding("database", State.OK, f"{ledger.engine.dialect.name}, its schema is this Weir's")
        letters = ledger.dead_letters(NEWEST)
        reasons = [f"{each.topic}/{each.partition}@{each.offset} {each.reason}" for each in letters]
        yield doctor.check_dead_letters(ledger.dead_letter_count(), reasons)
        if ledger.engine.dialect.name != "sqlite":
            before = time.time()
            yield doctor.check_clock("the database", ledger.server_now_s(), before, time.time())
    finally:
        ledger.close()


def _redis(config: Config) -> Iterable[Finding]:
    url = config.redis or running(bootstrap.redis_directory(config))
    if url is None:
        yield Finding("redis", State.NOTE, "our own does not run", "weir up starts it")
        return
    before = time.time()
    for node, facts in redis_facts(url).items():
        for finding in doctor.check_redis(facts):
            yield msgspec.structs.replace(finding, check=f"redis {node}".rstrip())
        yield doctor.check_clock(f"Redis {node}".rstrip(), facts.now_s, before, time.time())


def _features(config: Config) -> Iterable[Finding]:
    """Are the profile's features live?"""
    profile = load_profile(config.profile)
    try:
        told, behind = filled(config, profile), lacking(config, profile)
    except StoreUnavailable:
        return  # which is told of Redis itself
    if behind:
        found = f"Redis lacks {behind:,} records that were decided" + (
            "; decisions are degraded until they are there" if behind > config.wait_records else ""
        )
        mend = "a score worker fills it again from the log; a snapshot now and then makes it short (WEIR_SNAPSHOT_EVERY)"
        yield Finding("features", State.WRONG, found, mend)
    yield from _old(config)
    if told is not None:
        mend = "a score worker of this profile fills them and changes over; without one `weir prime` does"
        yield Finding("features", State.NOTE, str(told), mend)


def _old(config: Config) -> Iterable[Finding]:
    """Do generations that nobody needs take memory? A part of the keys stands for all."""
    from features.redis_kept import kept

    url = config.redis or running(bootstrap.redis_directory(config))
    if url is None:
        return []
    return doctor.check_generations(kept(url, bootstrap.store_name(config), LOOKED_AT))


def _modes(config: Config) -> Iterable[Finding]:
    keys = [path for path in (config.dir / "keys").glob("*") if path.is_file()]
    secrets = [Path(config.given[name]) for name in SECRET_FILES if name in config.given]
    return doctor.check_modes(
        *({str(path): path.stat().st_mode for path in paths} for paths in (keys, secrets))
    )


def _encryption(config: Config) -> Iterable[Finding]:
    named = {"the log": config.broker, "Redis": config.redis, "the database": config.database}
    named["the schema registry"] = config.registry.url if config.registry else None
    return doctor.check_encryption({name: url for name, url in named.items() if url}, config.kafka.tls)


def _registry(config: Config) -> Iterable[Finding]:
    """Does the registry answer, and know the schema of the events?"""
    if load_profile(config.profile).source.format != "avro":
        return
    from stream.registry import SchemaRegistry

    if config.registry is None:
        mend = "name it in WEIR_SCHEMA_REGISTRY"
        yield Finding(
            "schema registry", State.WRONG, "the profile's format is avro, and no registry is named", mend
        )
        return
    subject = f"{config.topic(TRANSACTIONS)}-value"
    newest = SchemaRegistry(config.registry).newest(subject)
    if newest is None:
        mend = (
            "register the schema under that subject, or what its writers wrote is not resolved to one schema"
        )
        yield Finding("schema registry", State.NOTE, f"it knows no subject {subject}", mend)
    else:
        yield Finding("schema registry", State.OK, f"{subject} is at schema {newest.number}")


def _rates(config: Config) -> Iterable[Finding]:
    """Are there rates, where the profile converts?"""
    profile = load_profile(config.profile)
    rates = bootstrap.rates_for(config, profile)
    if rates is None or not extents(config, (RATES,)):
        return []  # a topic that is missing is told of the log itself
    try:
        rates.catch_up()
        newest = {code: utc_text(at_us) for code, at_us in rates.newest_by_currency().items()}
        return doctor.check_rates(str(profile.source.convert_to), newest, rates.refused)
    finally:
        rates.close()


def _made(config: Config) -> bool:
    """Whether the database is there: to look into an absent SQLite file would make it."""
    scheme, _, file = config.database.partition(":///")
    return not scheme.startswith("sqlite") or Path(file).exists()


# --- the log


def _kafka(config: Config, readers: list[Reader]) -> Iterable[Finding]:
    from stream.kafka_admin import KafkaAdmin

    profile = load_profile(config.profile)
    want = wanted(profile.topics, config.topic_prefix, converts=profile.converts)
    with KafkaAdmin(config.broker, config.kafka) as admin:
        found = admin.topics(topic.name for topic in want)
        readers += _readers(config, admin, {name: topic.partitions for name, topic in found.items()})
    yield from doctor.check_topics(want, found)
    yield from doctor.check_equal_partitions(found, config.topic_prefix)
    inputs = [config.topic(name) for name in KEYED if config.topic(name) in found]
    kept_ms = {name: int(found[name].settings.get("retention.ms", "-1")) for name in inputs}
    yield from doctor.check_retention(
        profile, {name: ms if ms >= 0 else None for name, ms in kept_ms.items()}
    )
    yield from doctor.check_moved(_kept(config, inputs), found)


def _kept(config: Config, topics: Iterable[str]) -> dict[str, int]:
    if not _made(config):
        return {}
    ledger = Ledger.open(config.database)
    try:
        return kept_partitions(ledger.engine, topics)
    finally:
        ledger.close()


def _readers(config: Config, admin: KafkaAdmin, partitions: dict[str, int]) -> Iterable[Reader]:
    groups = admin.groups([f"{config.topic_prefix}weir-{role}" for role in READS])
    ends, starts = admin.ends(partitions), admin.starts(partitions)
    for role, names in READS.items():
        group = groups[f"{config.topic_prefix}weir-{role}"]
        read = {config.topic(name) for name in names}
        mine = {tp: end for tp, end in ends.items() if tp[0] in read}
        yield Reader(
            group.name,
            group.state,
            group.members,
            waiting(mine, starts, group.committed),
            _expired(group, starts),
        )


def _expired(group: Group, starts: dict[tuple[str, int], int]) -> int:
    return sum(max(0, starts.get(tp, 0) - offset) for tp, offset in group.committed.items())


def _embedded(config: Config, readers: list[Reader]) -> Iterable[Finding]:
    directory = directory_of(config.broker)
    if not (directory / "log.db").exists():
        yield Finding("log", State.NOTE, "not made yet", "weir up makes it")
        return
    log = Log(directory)
    try:
        readers += [_embedded_reader(config, log, role) for role in READS]
        kept_ms = {name: log.retention_ms(name) for name in (config.topic(each) for each in KEYED)}
        profile: Profile = load_profile(config.profile)
        yield Finding("log", State.OK, "the embedded log opens, and has this Weir's format")
        yield from doctor.check_retention(profile, kept_ms, State.NOTE)
    finally:
        log.close()


def _embedded_reader(config: Config, log: Log, role: str) -> Reader:
    group = f"{config.topic_prefix}weir-{role}"
    behind: dict[tuple[str, int], int] = {}
    for name in map(config.topic, READS[role]):
        ends, starts, committed = log.end_offsets(name), log.first_offsets(name), log.committed(group, name)
        parts = [
            {(name, part): offset for part, offset in each.items()} for each in (ends, starts, committed)
        ]
        behind |= waiting(*parts)
    member = _member(directory_of(config.broker) / "groups" / f"{group}.lock")
    return Reader(group, "Stable" if member else "Empty", (member,) if member else (), behind)


def _member(lock: Path) -> str | None:
    """The process that holds a group's lock, if it lives."""
    pid = lock.read_text().strip() if lock.exists() else ""
    if not pid.isdecimal():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives, and is another user's
    return f"process {pid}"
