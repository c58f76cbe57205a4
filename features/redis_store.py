"""The feature store in Redis or Valkey: one round trip, one script call for up to 32 events.

``script/`` orders, counts and adds integers; what they mean is made in compute.py, as for the store in memory. All
keys lie in one slot and begin with a prefix that names this format and the feature set: another set has other state.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from features.by_batch import ByBatch
from features.calls import Call, Share, calls_of
from features.catalogue import FeatureSet
from features.compute import Plan
from features.events import Event
from features.packing import HALF, SEQ, Packer, Unpacker, packed_plan
from features.redis_patience import Patience, shown
from features.store import Applied, Run, StoreBehind, StoreUnavailable

FORMAT = 6
"""Of the keys and their bytes: another format has other keys."""

CALL = 32
"""Items of one script call, which holds up everybody else: about 2 ms."""

ANSWER_WITHIN_S = 10.0  # a call takes milliseconds; the append-only file's disk may stall for seconds
SCANNED = 10_000  # keys that are looked at in one step, where all are
LOGS = (b"t", b"l", b"d", b"c", b"f", b"g")  # kinds of keys that one value of an entity has: see the script

CHAPTERS = [
    "state",
    "logs",
    "near",
    "folds",
    "windows",
    "readings",
    "labels",
    "ids",
    "items",
    "homes",
    "apply",
]
SCRIPT = "\n".join(files("features").joinpath("script", f"{name}.lua").read_text() for name in CHAPTERS)
"""One script, told in eleven chapters: each uses what those before it define."""

BEHIND = re.compile(r"BEHIND (\d+) (\d+) (\d+)")
"""The script's refusal: which source, how far its partition is held, and the seq."""

POSITION = struct.Struct("<d")
BORDERS = struct.Struct("<dddd")


def base_key(prefix: str, feature_set: FeatureSet) -> bytes:
    """What every key of a store begins with; the braces keep them in one slot of a cluster."""
    return f"{{{prefix}:{FORMAT}:{feature_set.version}}}".encode()


def positions_of(held: Iterable[tuple[bytes, bytes]]) -> dict[tuple[str, int], int]:
    """By topic and partition: the offset behind the last that was applied, of what a store keeps under its base and "p"."""
    places = ((name.decode().rpartition("/"), POSITION.unpack(packed)) for name, packed in held)
    return {(topic, int(partition)): int(at) for (topic, _, partition), (at,) in places}


class RedisFeatureStore(ByBatch):
    """Features that live in Redis, shared by all processes that name the same prefix and key."""

    def __init__(self, url: str, feature_set: FeatureSet, *, prefix: str, hash_key: bytes) -> None:
        """`hash_key` (at most 64 bytes) keys the digests that stand for entities and event ids.

        Raises StoreUnavailable where there is no server, or one that may evict what it holds; ValueError for a
        set that cannot be kept.
        """
        self._plan = Plan(feature_set)
        self._prefix = prefix
        self._base = base_key(prefix, feature_set)
        self._packer, self.unpacked = Packer(self._plan, hash_key), Unpacker(self._plan)
        self._told = packed_plan(self._plan)
        self._url = url
        self._redis = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_WITHIN_S)
        self.took: Callable[[float], None] = lambda seconds: (
            None
        )  # told how long each call to the server took
        self._patiently = Patience(url, lambda seconds: self.took(seconds))
        self._seen = 0  # the highest seq that this server told: it cannot hold less
        self._sha = self._patiently(self._load)
        self._patiently(self._refuse_eviction)

    @property
    def url(self) -> str:
        """Where the server is; it may hold a password."""
        return self._url

    def batch(self, runs: Sequence[Run]) -> Packed:
        """Runs packed for the script."""
        calls = calls_of([Share(list(map(self._packer, run.events)), run.source) for run in runs], CALL)
        return Packed(self, [event for run in runs for event in run.events], calls, [])

    def send(self, calls: Sequence[Call[bytes]]) -> list[bytes]:
        """The replies to calls, in one round trip.

        A connection that fails is tried again a few times, which is safe: what was applied answers as before.
        """
        return self._patiently(lambda: self._send(calls)) if calls else []

    def positions(self) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset behind the last that was applied."""
        meta, found = self._patiently(self._ask_positions)
        self._seen = int(SEQ.unpack_from(meta)[0]) if meta else 0
        return positions_of(found.items())

    def forget(self, entity: str, value: str) -> bool:
        """Drop what is known of one value of an entity, in every feature set under the prefix; whether anything was.

        Looks at every key of the server, since other sets have other keys: a second for each million or so.
        """
        self._plan.index_of(entity)
        digest = self._packer.digest(entity, value)
        anywhere = logs_of(self._prefix, digest)
        keys = self._patiently(lambda: list(self._redis.scan_iter(anywhere, SCANNED)))
        return bool(keys) and self._patiently(lambda: self._redis.unlink(*keys)) > 0

    def close(self) -> None:
        """Close the connections; the state stays in Redis."""
        self._redis.close()

    def _send(self, calls: Sequence[Call[bytes]]) -> list[bytes]:
        replies = self._pipelined(calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):  # the server was restarted
            self._load()
            replies = self._pipelined(calls)
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, Exception):
                raise told_behind(reply, call) or reply
        self._seen = max([self._seen, *(int(SEQ.unpack_from(reply)[0]) for reply in replies)])
        return replies

    def _pipelined(self, calls: Sequence[Call[bytes]]) -> list[Any]:
        """The reply to each call, bytes or an error, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.evalsha(self._sha, 1, self._base, self._told, *arguments(call, self._seen))
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def _ask_positions(self) -> tuple[bytes | None, dict[bytes, bytes]]:
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.getrange(self._base, 0, SEQ.size - 1)
            pipeline.hgetall(self._base + b"p")
            meta, found = pipeline.execute()
        return meta, found

    def _load(self) -> str:
        return str(self._redis.script_load(SCRIPT))

    def _refuse_eviction(self) -> None:
        refuse_eviction(self._redis, shown(self._url))


class Packed(NamedTuple):
    """A batch that is packed, then applied, then understood: the server works on another one meanwhile."""

    store: RedisFeatureStore
    events: Sequence[Event]
    calls: Sequence[Call[bytes]]
    replies: list[bytes]

    def apply(self) -> None:
        """Send it, and wait for the replies."""
        self.replies[:] = self.store.send(self.calls)

    def answers(self) -> list[Applied]:
        """What became of each event."""
        return self.store.unpacked(self.events, self.replies)


def refuse_eviction(client: redis.Redis, where: str) -> None:
    """Raise StoreUnavailable for a server that may drop what it holds."""
    policy = str(client.info("memory").get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):  # the volatile ones evict keys with an expiry: none of ours has one
        raise StoreUnavailable(
            f"the Redis at {where} drops keys when it is full (maxmemory-policy {policy}), and with "
            "them what is known of an entity: set maxmemory-policy to noeviction"
        )


def logs_of(prefix: str, digest: bytes) -> bytes:
    """The pattern of the logs of a value and its parts, whatever the format and the feature set."""
    start = b"{" + _literal(f"{prefix}:".encode()) + b"*}[" + b"".join(LOGS) + b"]"
    return start + _literal(digest[:HALF]) + b"????????"


def _literal(text: bytes) -> bytes:
    """A pattern of SCAN that fits these bytes alone."""
    return b"".join(b"\\" + text[at : at + 1] for at in range(len(text)))


def arguments(call: Call[bytes], seen: int) -> list[bytes]:
    """What the script is given of a call, and of the highest seq that was seen."""
    if not call.sources:
        return [b"".join(call.items)]
    sources = zip(call.sources, call.firsts, strict=True)
    borders = [BORDERS.pack(each.before, each.after, first, len(each.offsets)) for each, first in sources]
    offsets = array("d", [offset for each in call.sources for offset in each.offsets])
    names = [f"{each.topic}/{each.partition}".encode() for each in call.sources]
    return [b"".join(call.items), SEQ.pack(seen) + b"".join(borders), offsets.tobytes(), *names]


def told_behind(reply: Exception, call: Call[bytes]) -> StoreBehind | None:
    """The script's refusal of a call; None where the reply is another error."""
    found = BEHIND.match(str(reply))
    return StoreBehind(call.sources[int(found[1])], int(found[2]), int(found[3])) if found else None
