"""A copy of the feature store's keys as they stood at one moment, and back into a server.

What is copied are plain values (strings, hashes, sets), not Redis' own dumps: those are read by no older and no other server.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import redis
from redis.exceptions import RedisClusterException, RedisError

from features.redis_nodes import client_of, is_cluster
from features.redis_nodes import servers as servers_of
from features.redis_patience import shown
from features.redis_states import POSITION
from features.redis_store import ANSWER_WITHIN_S, FORMAT
from features.store import StoreUnavailable

SNAPSHOT_WITHIN_S = 120.0
"""How long a server may be silent while it writes its data down; it sends a newline every ten seconds meanwhile."""

SOME = 500  # keys of one round trip
PIECE = 1 << 20

Entry = tuple[bytes, str, Any]
"""A key, its kind, and what it holds: bytes, or a list of (field, value), or a list of members."""


class SnapshotRefused(StoreUnavailable):
    """The server gives nobody its whole data."""


def prefix_of(name: str) -> str:
    """What every key of the stores of this name begins with, whatever their format and features.

    >>> prefix_of("weir:")
    '{weir::'
    """
    return f"{{{name}:"


@contextmanager
def told_of(url: str) -> Iterator[None]:
    """Raises what Redis raises within as StoreUnavailable."""
    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreUnavailable(f"the Redis at {shown(url)} cannot be copied: {error}") from error


def layout(url: str | None) -> str:
    """What a copy's keys are laid out for: only a server, or cluster, of the same kind can use them."""
    return f"{FORMAT} on a cluster" if is_cluster(url) else str(FORMAT)


# --- out


def servers(url: str) -> list[str]:
    """The addresses under which all data can be fetched: of a cluster, each node's. Raises StoreUnavailable."""
    with told_of(url):
        return servers_of(url, ANSWER_WITHIN_S)


def fetch_snapshot(url: str, file: Path) -> int:
    """Write all data of a server, as they stand now, to `file` (RDB), as a replica would get them.

    Gives the number of the database in it that the URL means. The server goes on meanwhile. Raises SnapshotRefused
    where it gives its data to nobody, and StoreUnavailable.
    """
    with told_of(url):
        pool = redis.ConnectionPool.from_url(url, socket_timeout=SNAPSHOT_WITHIN_S)
        connection: Any = pool.make_connection()
        connection.connect()
        try:
            connection.send_command("SYNC")
            wire: socket.socket = connection._sock
            with closing(wire.makefile("rb")) as told, file.open("xb") as out:
                _take(told, out, shown(url))
        finally:
            connection.disconnect()
    return int(pool.connection_kwargs.get("db") or 0)


def _take(told: IO[bytes], out: IO[bytes], where: str) -> None:
    line = told.readline()
    while line == b"\n":  # it still writes
        line = told.readline()
    if not line.startswith(b"$"):
        said = line.decode(errors="replace").strip() or "it closed the connection"
        raise SnapshotRefused(f"the Redis at {where} gives no copy of its data: {said}")
    left = int(line[1:])
    while left:
        piece = told.read(min(left, PIECE))
        if not piece:
            raise StoreUnavailable(
                f"the Redis at {where} broke off, {left:,} bytes before the end of its data"
            )
        out.write(piece)
        left -= len(piece)


def entries(url: str, prefix: str) -> Iterator[list[Entry]]:
    """All keys that begin with `prefix`, some at a time. Raises StoreUnavailable."""
    with told_of(url), closing(_client(url)) as client:
        keys = client.scan_iter(escaped(prefix), count=SOME)
        while some := list(islice(keys, SOME)):
            yield read(client, some)


def read(client: redis.Redis, keys: Sequence[bytes]) -> list[Entry]:
    """What these keys hold."""
    kinds = [kind.decode() for kind in _asked(client, [("TYPE", key) for key in keys])]
    held = _asked(client, [(READ[kind], key) for key, kind in zip(keys, kinds, strict=True) if kind in READ])
    known = [(key, kind) for key, kind in zip(keys, kinds, strict=True) if kind in READ]
    if strange := {kind for kind in kinds if kind not in READ and kind != "none"}:
        raise StoreUnavailable(f"keys of the kind {', '.join(sorted(strange))} are none that Weir writes")
    return [(key, kind, _plain(what)) for (key, kind), what in zip(known, held, strict=True)]


READ = {"string": "GET", "hash": "HGETALL", "set": "SMEMBERS"}


def _plain(held: Any) -> Any:
    if isinstance(held, dict):
        return sorted(held.items())
    return sorted(held) if isinstance(held, set | list) else held


def marks(url: str, prefix: str) -> dict[bytes, Any]:
    """What changes whenever anything is applied: two equal ones have nothing between them."""
    with told_of(url), closing(_client(url)) as client:
        heads = [key for key in client.scan_iter(escaped(prefix), count=SOME) if head_of(key)]
        return {key: held for key, _, held in read(client, heads)} if heads else {}


def head_of(key: bytes) -> bool:
    """Whether a key says how far a store holds its log, or which one is live: what is of many keys says nothing without it.

    So do those of networks: which was adopted when, how far the states of one are filled, and how far one has seen the log.
    """
    behind = _behind_base(key)
    return behind in (b"", b"p") or behind.startswith((b"w", b"k"))


def _behind_base(key: bytes) -> bytes:
    """What kind of key it is, and whose; the digest in it may end in any bytes."""
    return key.partition(b"}")[2]


def positions_in(some: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """By the store's base key, and TOPIC/PARTITION: the offset behind the last that was applied."""
    return {
        key[:-1].decode(): {name.decode(): int(POSITION.unpack(packed)[0]) for name, packed in held}
        for key, kind, held in some
        if kind == "hash" and _behind_base(key) == b"p"
    }


def held_by(positions: Mapping[str, Mapping[str, int]], base: str) -> dict[str, int]:
    """How far the store of a base key holds each TOPIC/PARTITION; one that lies in shards, as far as all of them do.

    >>> held_by({"{weir:4:a}": {"t/0": 5}}, "{weir:4:a}")
    {'t/0': 5}
    >>> held_by({"{weir:4:a:2.0.1}": {"t/0": 5, "t/1": 2}, "{weir:4:a:2.1.7}": {"t/0": 3}}, "{weir:4:a}")
    {'t/0': 3}
    """
    start = base.removesuffix("}") + ":"
    held = [each for key, each in positions.items() if key == base or key.startswith(start)]
    everywhere = set.intersection(*map(set, held)) if held else set()
    return {place: min(each[place] for each in held) for place in sorted(everywhere)}


# --- back


def is_empty(url: str, prefix: str) -> bool:
    """Whether a server holds no key that begins so."""
    with told_of(url), closing(_client(url)) as client:
        return not any(True for _ in client.scan_iter(escaped(prefix), count=SOME))


def clear(url: str, prefix: str) -> None:
    """Drop all keys that begin so."""
    with told_of(url), closing(_client(url)) as client:
        keys = client.scan_iter(escaped(prefix), count=SOME)
        while some := list(islice(keys, SOME)):
            _asked(client, [("UNLINK", key) for key in some])


def fill(url: str, found: Iterable[Sequence[Entry]]) -> int:
    """Write copied keys into a server; gives how many. Raises StoreUnavailable."""
    count = 0
    with told_of(url), closing(_client(url)) as client:
        for some in found:
            _asked(client, [write(*entry) for entry in some])
            count += len(some)
    return count


def write(key: bytes, kind: str, held: Any) -> tuple[Any, ...]:
    """The command that makes an entry of a key that is not there."""
    if kind == "string":
        return ("SET", key, held)
    if kind == "hash":
        return ("HSET", key, *(part for pair in held for part in pair))
    return ("SADD", key, *held)


def _asked(client: redis.Redis, commands: Iterable[Sequence[Any]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        return list(pipeline.execute())


def _client(url: str) -> redis.Redis:
    client: redis.Redis = client_of(url, ANSWER_WITHIN_S)  # a cluster's has the same commands
    return client


def escaped(prefix: str) -> str:
    """As a pattern that stands for this beginning and no other."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^" else letter for letter in prefix) + "*"
