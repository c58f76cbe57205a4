"""The generations that a Redis keeps: which is live, what the others take, and old ones dropped in steps that hold nobody up."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec
import redis
from redis.exceptions import ResponseError

from features.catalogue import FeatureSet
from features.redis_cluster import shard_keys, shards_in
from features.redis_copy import escaped, prefix_of, servers, told_of
from features.redis_generations import RedisLive
from features.redis_nodes import client_of, is_cluster
from features.redis_patience import Patience
from features.redis_store import ANSWER_WITHIN_S, base_key

PAGE = 500
"""Keys of one step of a SCAN: a tenth of a millisecond."""

SLICE = 100
"""Keys that are let go at once: some tenths of a millisecond, since what is large is freed beside the server's own thread."""

WEIGHED = 20
"""Keys of a page and of a kind of which the memory is asked: those of one kind are much alike."""

IN_USE_S = 60
"""A generation that somebody read or wrote so lately may have a worker that decides on it."""

MARK = b"~"
"""Behind a base key: what lies under it is being dropped, by whom. Whoever begins on that generation completes it first."""

DROP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('UNLINK', unpack(KEYS, 2))
"""
"""Drops keys as long as the mark is ours: one who slept, and was followed meanwhile, drops nothing that was made since."""

LIVE, FILLING, OLD = "live", "filling", "old"

Shown = Callable[[int], None]
"""Hears of so many keys more that are gone."""


class Refused(Exception):
    """A generation that is not dropped: why."""


class Kept(msgspec.Struct, frozen=True):
    """A generation as Redis keeps it."""

    name: str  # FORMAT:VERSION
    state: str  # LIVE, FILLING or OLD
    keys: int
    bytes: int  # of memory, as a sample says
    idle_s: int | None  # since it was last read or written; None: the server does not tell
    left_us: int | None  # when another one became live in its place; None: not since this Weir notes it


class _Found:
    """What a scan saw of the generations of one name."""

    def __init__(self, prefix: str) -> None:
        self.keys: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.bases: dict[str, set[bytes]] = {}
        start = re.escape(prefix_of(prefix).encode())
        self._name = re.compile(rb"(" + start + rb"(\d+:[0-9a-f]{16})(?::[0-9.]+)?\})")

    def page(self, client: redis.Redis, keys: Sequence[bytes], scale: float) -> None:
        """Count a page's keys, and weigh some; `scale` times as many are meant."""
        alike: dict[tuple[str, bytes], list[bytes]] = {}
        for key in keys:
            if found := self._name.match(key):
                name, kind = found[2].decode(), key[found.end() : found.end() + 1]
                alike.setdefault((name, kind), []).append(key)
                self.bases.setdefault(name, set()).add(found[1])
        for (name, _), some in alike.items():
            with client.pipeline(transaction=False) as pipeline:
                for key in some[:WEIGHED]:
                    pipeline.memory_usage(key)
                weights = [int(each or 0) for each in pipeline.execute()]
            self.keys[name] += round(len(some) * scale)
            self.bytes[name] += round(len(some) * scale * sum(weights) / len(weights))


def kept(url: str, prefix: str, most: int | None = None) -> list[Kept]:
    """All generations of the stores of one name, the live one first. Raises StoreUnavailable.

    With `most` at most so many keys of each server are looked at, and stand for the others.
    """
    return _kept(url, prefix, _scanned(url, prefix, most))


def _kept(url: str, prefix: str, found: _Found) -> list[Kept]:
    with told_of(url), closing(_client(url)) as client, closing(RedisLive(url, prefix)) as live:
        left, now = live.left(), str(live.read())
        made = [
            Kept(
                name=name,
                state=LIVE if name == now else FILLING if live.is_held(name) else OLD,
                keys=found.keys[name],
                bytes=found.bytes[name],
                idle_s=_idle_s(client, found.bases[name]),
                left_us=left.get(name),
            )
            for name in found.keys
        ]
    return sorted(made, key=lambda each: (each.state != LIVE, -each.bytes))


def _scanned(url: str, prefix: str, most: int | None = None) -> _Found:
    found = _Found(prefix)
    with told_of(url):
        for server in servers(url):
            with closing(_client(server)) as client:
                scale = max(1.0, client.dbsize() / most) if most else 1.0
                for keys in islice(_pages(client, prefix_of(prefix)), most and -(-most // PAGE)):
                    found.page(client, keys, scale)
    return found


def _pages(client: Any, start: str) -> Iterator[list[bytes]]:
    """The keys that begin so, page by page."""
    cursor, pattern = 0, escaped(start)
    while True:
        cursor, keys = client.scan(cursor, match=pattern, count=PAGE)
        yield keys
        if cursor == 0:
            return


def _idle_s(client: Any, bases: set[bytes]) -> int | None:
    """Since any of its heads, which every batch reads, was touched; to ask that touches nothing."""
    try:
        told = [client.object("IDLETIME", base + end) for base in bases for end in (b"", b"p")]
    except ResponseError:  # a server that counts how often keys are used, not when
        return None
    return min((int(each) for each in told if each is not None), default=None)


# --- away


def drop(url: str, prefix: str, name: str, shown: Shown = lambda count: None) -> int:
    """Drop an old generation, FORMAT:VERSION; gives the number of keys. Raises Refused, and StoreUnavailable.

    Ended at any point, what is left is dropped by saying the same again, and by whoever begins on that generation.
    """
    found = _scanned(url, prefix)
    _refuse({each.name: each for each in _kept(url, prefix, found)}, name)
    with told_of(url), closing(RedisLive(url, prefix)) as live:

        def still_old() -> None:
            if str(live.read()) == name:
                raise Refused(
                    f"{name} became live meanwhile: what is left of it is dropped by its first worker"
                )
            if live.is_held(name):
                raise Refused(
                    f"{name} is being filled since a moment ago: who fills it drops what is left first"
                )

        count = _dropped(url, sorted(found.bases[name]), f"{prefix_of(prefix)}{name}", still_old, shown)
        live.forget_left(name)
    return count


def _refuse(known: Mapping[str, Kept], name: str) -> None:
    if name not in known:
        there = ", ".join(known) or "none"
        raise Refused(f"there is no generation {name}; there are {there}")
    found = known[name]
    if found.state == LIVE:
        raise Refused(f"{name} is live: decisions rest on it")
    if found.state == FILLING:
        raise Refused(f"{name} is being filled: end the worker, or `weir prime`, that does it")
    if found.idle_s is not None and found.idle_s < IN_USE_S:
        raise Refused(
            f"{name} was used {found.idle_s} s ago: a worker of its profile may still decide on it. Stop that one, and say this "
            f"again when nothing has used it for {IN_USE_S} s"
        )


def finish(url: str, prefix: str, features: FeatureSet) -> int:
    """Complete a drop of these features' generation that came to no end, before anybody begins on it; gives the number of keys.

    It waits for a server or a node that may be back in a moment, as a store does. Raises StoreUnavailable.
    """
    return Patience(url, lambda _: None)(lambda: _finished(url, prefix, features))


def _finished(url: str, prefix: str, features: FeatureSet) -> int:
    base = base_key(prefix, features)
    bases = [base]
    if is_cluster(url):
        homes, shards = shard_keys(prefix, features, shards_in(url))
        bases += [*homes, *shards]
    with closing(_client(url)) as client:
        if not any(client.exists(each + MARK) for each in bases):
            return 0
        return _dropped(url, bases, base.decode().removesuffix("}"), lambda: None, lambda count: None)


def _dropped(url: str, bases: Sequence[bytes], start: str, still: Callable[[], None], shown: Shown) -> int:
    """Mark all bases, then drop their heads, then all else: without heads nobody takes the rest for a state."""
    token = secrets.token_hex(8).encode()
    with closing(_client(url)) as client:
        still()
        for base in bases:
            client.set(base + MARK, token)
        count = sum(_let_go(client, base, token, [base, base + b"p"]) for base in bases)
        for server in servers(url):
            with closing(_client(server)) as node:
                for keys in _pages(node, start):
                    still()
                    gone = _let_go_page(client, token, keys)
                    count += gone
                    shown(gone)
        for base in bases:
            _let_go(client, base, token, [base + MARK])
    return count


def _let_go_page(client: Any, token: bytes, keys: Sequence[bytes]) -> int:
    by_base: dict[bytes, list[bytes]] = {}
    for key in keys:
        base, brace, _ = key.partition(b"}")
        if key != base + brace + MARK:
            by_base.setdefault(base + brace, []).append(key)
    return sum(
        _let_go(client, base, token, some[at : at + SLICE])
        for base, some in by_base.items()
        for at in range(0, len(some), SLICE)
    )


def _let_go(client: Any, base: bytes, token: bytes, keys: Sequence[bytes]) -> int:
    count = int(client.eval(DROP, 1 + len(keys), base + MARK, *keys, token))
    if count < 0:
        raise Refused("somebody else drops it, or has done so: say it again to see what is left")
    return count


def _client(url: str) -> Any:
    return client_of(url, ANSWER_WITHIN_S)
