"""A snapshot of the feature store, poured back into a server that lost it at the speed at which that server takes commands.

The snapshot is the server's own data file (RDB). A server of ours loads it, and writes the store's keys down as commands; these
go over one connection as they are, and Python looks at none of them. What says how far the store holds the log comes last, in one
step: until then nobody can take what is there for whole.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import redis

from features.redis_copy import Entry, escaped, read, told_of, write
from features.redis_generations import live_key
from features.redis_patience import shown
from features.redis_store import ANSWER_WITHIN_S
from features.store import StoreUnavailable

PIECE = 1 << 20
SOME = 10_000  # keys of one step
REWRITTEN_WITHIN_S = 600.0
POURED_WITHIN_S = 120.0
"""How long a server may take for what is on its way to it."""

ONLY = """
local prefix, cursor, heads = ARGV[1], '0', {}
repeat
  local found = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = found[1]
  for _, key in ipairs(found[2]) do
    if string.sub(key, 1, #prefix) ~= prefix then
      redis.call('UNLINK', key)
    else
      local behind = string.sub(key, (string.find(key, '}', 1, true)) + 1)
      if behind == '' or behind == 'p' or string.find(behind, '^[kw]') then
        heads[#heads + 1] = key
      end
    end
  end
until cursor == '0'
return heads
"""
"""In the server that is ours alone, and does nothing else: millions of keys need not be told to Python. See `head_of`."""

DONE = b"weir poured it all"


def commands_of(url: str, prefix: str, directory: Path) -> tuple[Path, list[Entry]]:
    """What the server at `url`, which is ours alone and works in `directory`, holds of the stores of this prefix.

    A file of commands, and the few keys that come last. All else in it is dropped. Raises StoreUnavailable.
    """
    with told_of(url), closing(redis.Redis.from_url(url, socket_timeout=REWRITTEN_WITHIN_S)) as client:
        _drop_other_databases(client)
        heads = _only(client, prefix)
        entries = read(client, heads) if heads else []
        if heads:
            client.unlink(*heads)
        client.config_set("aof-use-rdb-preamble", "no")
        client.config_set("appendonly", "yes")
        _wait_until_written(client, url)
    (file,) = (directory / "appendonlydir").glob("*.base.aof")
    return file, entries


def _drop_other_databases(client: redis.Redis) -> None:
    mine = int(client.connection_pool.connection_kwargs.get("db") or 0)
    for name in dict(client.info("keyspace")):
        if name != f"db{mine}":
            client.execute_command("SELECT", name.removeprefix("db"))  # type: ignore[no-untyped-call]
            client.flushdb()
    client.execute_command("SELECT", mine)  # type: ignore[no-untyped-call]


def _only(client: redis.Redis, prefix: str) -> list[bytes]:
    """Drop all keys that do not begin so; gives those that come last."""
    heads: Any = client.eval(ONLY, 0, prefix)
    return sorted(set(heads))


def _wait_until_written(client: redis.Redis, url: str) -> None:
    deadline = time.monotonic() + REWRITTEN_WITHIN_S
    while time.monotonic() < deadline:
        said = client.info("persistence")
        if not (said["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"]):
            if said["aof_last_bgrewrite_status"] == "ok":
                return
            break
        time.sleep(0.02)
    raise StoreUnavailable(f"the server at {shown(url)} did not write its data down: is the disk full?")


# --- back


def pour(url: str, commands: Path, heads: Sequence[Entry], begun: str) -> None:
    """Give a server all these commands, then the `heads` at once; the key `begun` is there until they are.

    Raises StoreUnavailable.
    """
    with told_of(url), closing(redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S)) as client:
        client.set(begun, b"1")
        _pour(url, commands)
        with client.pipeline(transaction=True) as pipeline:
            for entry in heads:
                pipeline.execute_command(*write(*entry))  # type: ignore[no-untyped-call]
            pipeline.delete(begun)
            pipeline.execute()


def _pour(url: str, commands: Path) -> None:
    pool = redis.ConnectionPool.from_url(url, socket_timeout=POURED_WITHIN_S)
    connection: Any = pool.make_connection()
    connection.connect()
    try:
        wire: socket.socket = connection._sock
        answers = _Answers(wire, shown(url))
        with commands.open("rb") as source:
            while piece := source.read(PIECE):
                wire.sendall(piece)
                answers.look()
        wire.sendall(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (len(DONE), DONE))
        answers.wait()
    finally:
        connection.disconnect()


class _Answers:
    """What a server answers to commands that are poured into it: a line each, and no fault among them."""

    def __init__(self, wire: socket.socket, where: str) -> None:
        self._wire, self._where = wire, where
        self._rest = b"\n"

    def look(self) -> None:
        """Take in what is there."""
        while select.select([self._wire], [], [], 0)[0]:
            self._take()

    def wait(self) -> None:
        """Take in all up to the end."""
        while not self._rest.endswith(DONE + b"\r\n"):
            self._take()

    def _take(self) -> None:
        came = self._wire.recv(PIECE)
        if not came:
            raise StoreUnavailable(f"the Redis at {self._where} broke off while it was filled")
        told = self._rest + came
        if (at := told.find(b"\n-")) >= 0:
            said = told[at + 2 :].partition(b"\r")[0].decode(errors="replace")
            raise StoreUnavailable(f"the Redis at {self._where} does not take the snapshot: {said}")
        self._rest = told[-len(DONE) - 3 :]


def give_up(url: str, begun: str) -> None:
    """What is there is no part of a snapshot any more: the store begins with nothing."""
    with told_of(url), closing(redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S)) as client:
        client.delete(begun)


def is_begun(url: str, begun: str) -> bool:
    """Whether something was poured into a server that came to no end."""
    with told_of(url), closing(redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S)) as client:
        return bool(client.exists(begun))


def is_lost(url: str, name: str, begun: str) -> bool:
    """Whether a server holds nothing of the stores of this name, or what was poured into it came to no end."""
    with told_of(url), closing(redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S)) as client:
        if client.exists(begun):
            return True
        if client.exists(live_key(name)):
            return False
        found: Iterable[bytes] = client.scan_iter(escaped(f"{{{name}:"), count=SOME)
        return not any(True for _ in found)
