"""What is wrong with a set-up, and how to mend it: checks on plain facts, whoever found them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from features.profile import Profile
from features.redis_kept import OLD, Kept
from features.redis_server import RedisFacts
from features.topic_settings import looks_back_us
from stream.readiness import NotReady, refuse_moved
from stream.topics import KEYED, Topic, differences, missing

DAY_MS = 86_400_000

SKEW_S = 5.0
"""Clocks further apart than that put events before those that caused them."""

HERE = ("localhost", "127.0.0.1", "[::1]", "")

WORTH_A_NOTE = 1_000_000
"""Bytes that an old generation may take without a word."""

FULL = 0.9
"""Of its memory: a Redis that takes no more writes stops the stream."""


class State(StrEnum):
    """How a finding is meant."""

    OK = "ok"
    NOTE = "note"  # worth knowing; may be meant so
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """What a check found."""

    check: str
    state: State
    found: str
    mend: str = ""


class Reader(msgspec.Struct, frozen=True):
    """A consumer group, on whichever log."""

    name: str
    state: str  # Kafka's words: "Stable", "Empty", "PreparingRebalance", ...
    members: tuple[str, ...]
    waiting: Mapping[tuple[str, int], int]  # (topic, partition) -> records still to read
    expired: int = 0  # records that the log deleted before the group read them


def check_topics(want: Sequence[Topic], found: Mapping[str, Topic]) -> list[Finding]:
    """Are all topics there, and as the profile wants them?"""
    absent = [topic.name for topic in missing(want, found)]
    findings = []
    if absent:
        findings.append(Finding("topics", State.WRONG, f"missing: {', '.join(absent)}", "weir topics create"))
    for each in differences(want, found):
        mend = "write what is there into the profile, or see weir topics grow"
        if each.what != "partitions":
            mend = (
                "weir topics create --apply"
                if each.what != "replication"
                else "reassign its partitions with Kafka's tools"
            )
        findings.append(Finding("topics", State.NOTE, str(each), mend))
    return findings or [Finding("topics", State.OK, f"{len(found)} topics, as the profile wants them")]


def check_equal_partitions(found: Mapping[str, Topic], prefix: str) -> list[Finding]:
    """Does a key have the same number in all keyed topics?"""
    counts = {name: found[prefix + name].partitions for name in KEYED if prefix + name in found}
    if len(set(counts.values())) < 2:
        return []
    told = ", ".join(f"{name} {count}" for name, count in counts.items())
    return [
        Finding(
            "partitions",
            State.WRONG,
            f"keyed topics differ: {told}",
            f"weir topics grow {max(counts.values())}",
        )
    ]


def check_moved(kept: Mapping[str, int], found: Mapping[str, Topic]) -> list[Finding]:
    """Have the topics the partitions that the state was made with?"""
    try:
        refuse_moved(kept, {name: topic.partitions for name, topic in found.items() if name in kept})
    except NotReady as error:
        return [Finding("partitions", State.WRONG, str(error), "weir topics grow N")]
    return [Finding("partitions", State.OK, "as the state was made with")] if kept else []


def check_retention(
    profile: Profile, kept_ms: Mapping[str, int | None], short: State = State.WRONG
) -> list[Finding]:
    """Does the log hold all that the features look back to? `kept_ms` by topic; None: for ever."""
    needed_ms = looks_back_us(profile.features) // 1_000
    return [
        Finding(
            "retention",
            short,
            f"{name} keeps {kept / DAY_MS:g} days, the features look back {needed_ms / DAY_MS:g}: "
            "after a loss of Redis they cannot be built again from the log",
            "a longer [topics] retention, then weir topics create --apply; or keep history files for weir prime",
        )
        for name, kept in kept_ms.items()
        if kept is not None and 0 <= kept < needed_ms
    ]


def check_reader(reader: Reader) -> Finding:
    """Is the group there, and does it keep up?"""
    waiting = sum(reader.waiting.values())
    members = f"{len(reader.members)} member{'s' * (len(reader.members) != 1)}"
    found = f"{members} ({reader.state}), {waiting:,} records wait"
    if reader.expired:
        lost = f"{found}; {reader.expired:,} were deleted by retention before it read them"
        return Finding(reader.name, State.WRONG, lost, "a longer [topics] retention; send those events again")
    if not reader.members:
        state = State.WRONG if waiting else State.NOTE
        return Finding(reader.name, state, found, "start a worker of this role (weir worker, weir up)")
    if "Rebalance" in reader.state:
        return Finding(
            reader.name, State.NOTE, f"{found}; partitions are being handed out", "look again in a moment"
        )
    return Finding(reader.name, State.OK, found)


def check_dead_letters(count: int, newest: Iterable[str]) -> Finding:
    """What could not be used?"""
    if not count:
        return Finding("dead letters", State.OK, "none")
    told = "; ".join(newest)
    return Finding(
        "dead letters", State.NOTE, f"{count:,}, the newest: {told}", "weir dead-letters list, then replay"
    )


def check_redis(facts: RedisFacts) -> list[Finding]:
    """Is state safe in this Redis?"""
    wrong = []
    if facts.policy.startswith("allkeys"):
        wrong.append(("it drops keys when it is full: " + facts.policy, "set maxmemory-policy noeviction"))
    if not facts.append_only:
        wrong.append(("it keeps no append-only file: a restart loses all state", "set appendonly yes"))
    if facts.role != "master":
        wrong.append(
            (f"it is a replica ({facts.role}) and takes no writes", "name the primary in WEIR_REDIS")
        )
    if facts.limit and facts.used > FULL * facts.limit:
        share = f"{100 * facts.used / facts.limit:.0f} % of its memory are used"
        wrong.append((share, "raise maxmemory: a full Redis stops the stream"))
    if int(facts.version.partition(".")[0]) < 7:
        wrong.append((f"it is version {facts.version}", "use Redis 7 or newer, or Valkey"))
    if wrong:
        return [Finding("redis", State.WRONG, found, mend) for found, mend in wrong]
    return [
        Finding("redis", State.OK, f"version {facts.version}, append-only, {facts.used / 1e6:,.0f} MB used")
    ]


def check_generations(kept: Iterable[Kept]) -> list[Finding]:
    """Do old generations of features take memory?"""
    return [
        Finding(
            "features",
            State.NOTE,
            f"the old generation {each.name} takes about {each.bytes / 1e6:,.0f} MB of Redis",
            f"`weir features generations drop {each.name}`, unless a profile is to go back to it",
        )
        for each in kept
        if each.state == OLD and each.bytes >= WORTH_A_NOTE
    ]


def check_rates(to: str, newest: Mapping[str, str], refused: int) -> list[Finding]:
    """Can amounts be converted? `newest` says by currency of when its newest rate is."""
    mend = f"`weir send --rates FILE` sends rates to {to}; what lacked one is a dead letter, to be replayed with --now then"
    if not newest:
        return [Finding("rates", State.WRONG, f"there are none to {to}: nothing can be converted", mend)]
    known = ", ".join(f"{code} of {at}" for code, at in sorted(newest.items()))
    findings = [Finding("rates", State.OK, f"to {to}, the newest: {known}")]
    if refused:
        told = f"{refused:,} on the log cannot be used: a scorer's log says which, and why"
        findings.append(Finding("rates", State.NOTE, told, "send them anew, mended"))
    return findings


def check_clock(server: str, theirs_s: float, before_s: float, after_s: float) -> Finding:
    """Does a server's clock agree with ours, asked between two looks at it?"""
    apart = max(before_s - theirs_s, theirs_s - after_s, 0.0)
    if apart > SKEW_S:
        return Finding(
            "clock", State.WRONG, f"{server}'s clock is {apart:,.0f} s off ours", "run NTP on both machines"
        )
    return Finding("clock", State.OK, f"{server}'s agrees with ours")


def check_modes(keys: Mapping[str, int], secrets: Mapping[str, int]) -> list[Finding]:
    """Can others read the keys, or the files of secrets? Both by path: the mode's bits."""
    findings = [
        Finding("keys", State.WRONG, f"others may read {path}", f"chmod 600 {path}")
        for path, mode in keys.items()
        if mode & 0o077
    ]
    findings += [
        Finding(
            "keys",
            State.NOTE,
            f"others may read the secret in {path}",
            f"chmod 400 {path}, unless it is mounted so",
        )
        for path, mode in secrets.items()
        if mode & 0o007
    ]
    return findings or [Finding("keys", State.OK, f"{len(keys)} files, for this user only")]


def check_encryption(urls: Mapping[str, str], kafka_tls: bool) -> list[Finding]:
    """Does anything travel over a network in the clear? `urls` by the setting's name."""
    return [
        Finding("encryption", State.NOTE, f"{setting} goes to {host} in the clear", _ENCRYPTED[scheme])
        for setting, url in urls.items()
        for scheme, host in [_scheme_and_host(url)]
        if scheme in _ENCRYPTED and host not in HERE
        if not (scheme == "kafka" and kafka_tls)
        if not any(mode in url for mode in ("sslmode=require", "sslmode=verify"))
    ]


_ENCRYPTED = {
    "kafka": "set WEIR_KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL",
    "redis": "say rediss:// in WEIR_REDIS",
    "postgresql": "add ?sslmode=verify-full to WEIR_DATABASE",
    "http": "say https:// in WEIR_SCHEMA_REGISTRY",
}


def _scheme_and_host(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    host = rest.rpartition("@")[2].partition("/")[0].partition(",")[0]
    return scheme.partition("+")[0], host.rpartition(":")[0] or host


def check_profile(profile: Profile) -> list[Finding]:
    """Is anything in the profile worth a second look?"""
    notes = []
    if not profile.personal:
        notes.append(
            ("no entity is personal: values are kept in the clear", "name them in [stream] personal")
        )
    if profile.partition_by is None:
        notes.append(("no entity keeps its events in order", "name one in [stream] partition_by"))
    if profile.features.remember_us < DAY_MS * 1_000:
        notes.append(
            (
                "ids are remembered for less than a day",
                "a longer [features] remember: events sent again count twice",
            )
        )
    if notes:
        return [Finding("profile", State.NOTE, found, mend) for found, mend in notes]
    return [Finding("profile", State.OK, f"{profile.name}, {len(profile.features.names)} features")]
