"""The nodes of a Redis Cluster, and one pipelined round trip to each. The library knows which node has which slot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisClusterException, ResponseError
from redis.retry import Retry

from features.redis_patience import MOVING, shown
from features.store import StoreUnavailable

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""Of an address in WEIR_REDIS, and what the driver calls it."""

Command = Sequence[Any]

T = TypeVar("T")


def is_cluster(url: str | None) -> bool:
    """Whether an address is that of a cluster.

    >>> is_cluster("redis+cluster://host:7000"), is_cluster("redis://host")
    (True, False)
    """
    return bool(url) and str(url).partition("://")[0] in SCHEMES


def startup(url: str) -> tuple[str, list[tuple[str, int]]]:
    """The driver's address of the first node that is named, and all of them.

    >>> startup("rediss+cluster://me:secret@one:7000,two:7001?ssl_ca_certs=ca.pem")
    ('rediss://me:secret@one:7000?ssl_ca_certs=ca.pem', [('one', 7000), ('two', 7001)])
    """
    scheme, _, rest = url.partition("://")
    user, at, address = rest.rpartition("@")
    hosts, mark, options = address.partition("?")
    nodes = [_node(each) for each in hosts.rstrip("/").split(",")]
    host, port = nodes[0]
    return f"{SCHEMES[scheme]}://{user}{at}{_bracketed(host)}:{port}{mark}{options}", nodes


def _node(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = text, "6379"
    return host.strip("[]"), int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def name_of(node: redis.Redis) -> str:
    """HOST:PORT of a node."""
    settings = node.connection_pool.connection_kwargs
    return f"{settings['host']}:{settings['port']}"


def client_of(url: str, within_s: float) -> Any:
    """A client of a server, or of a cluster as a whole; its commands look alike. Raises StoreUnavailable, RedisError."""
    if not is_cluster(url):
        return redis.Redis.from_url(url, socket_timeout=within_s)
    address, nodes = startup(without_shards(url))
    try:
        return RedisCluster.from_url(
            address,
            startup_nodes=[ClusterNode(*each) for each in nodes],  # type: ignore[no-untyped-call]
            retry=Retry(NoBackoff(), 0),
            socket_timeout=within_s,
        )
    except RedisClusterException as error:
        raise _why(error, url) from error


def servers(url: str, within_s: float) -> list[str]:
    """The address of a server, or of every node of a cluster that has slots, as one that is asked alone."""
    if not is_cluster(url):
        return [url]
    scheme, _, rest = without_shards(url).partition("://")
    user, at, address = rest.rpartition("@")
    _, mark, options = address.partition("?")
    with closing(client_of(url, within_s)) as cluster:
        nodes = [(node.host, node.port) for node in cluster.get_primaries()]
    return [f"{SCHEMES[scheme]}://{user}{at}{_bracketed(host)}:{port}{mark}{options}" for host, port in nodes]


def without_shards(url: str) -> str:
    """An address without the number of shards that it asks for, which is no setting of the driver's.

    >>> without_shards("redis+cluster://host:7000?shards=32&ssl_cert_reqs=none")
    'redis+cluster://host:7000?ssl_cert_reqs=none'
    """
    address, _, options = url.partition("?")
    rest = [each for each in options.split("&") if each and not each.startswith("shards=")]
    return f"{address}?{'&'.join(rest)}" if rest else address


class Nodes:
    """A cluster's nodes, found when they are first asked. Any thread; one round trip at a time."""

    def __init__(self, url: str, within_s: float) -> None:
        """A node that is silent for `within_s` is gone."""
        self._url, self._within_s = url, within_s
        self._cluster: RedisCluster | None = None
        self._lines: dict[str, Any] = {}  # a connection of ours to each node, by its name
        self._lock = threading.Lock()

    def trip(self, asked: Sequence[tuple[bytes, Sequence[Command]]]) -> list[list[Any]]:
        """What is answered to commands, by the key that they are about: bytes, or a ResponseError.

        All nodes are sent what is theirs before any answer is waited for. Raises what passes (see redis_patience) where a
        node is gone, or has not (any more) what it was asked for: then nobody knows what was done.
        """
        with self._lock:
            try:
                replies = self._trip(asked)
                self._refuse_moved(replies)
            except (redis.RedisError, RedisClusterException, OSError) as error:
                self._look_again(error)
                raise
        return replies

    def _trip(self, asked: Sequence[tuple[bytes, Sequence[Command]]]) -> list[list[Any]]:
        by_node: dict[str, list[int]] = {}
        for number, (key, _) in enumerate(asked):
            node = self._node_of(key)
            by_node.setdefault(node.name, []).append(number)
            if node.name not in self._lines:
                self._lines[node.name] = _connection(node)
        for name, numbers in by_node.items():
            line = self._lines[name]
            line.send_packed_command(line.pack_commands([each for at in numbers for each in asked[at][1]]))
        replies: list[list[Any]] = [[] for _ in asked]
        for name, numbers in by_node.items():
            for at in numbers:
                replies[at] = [_reply(self._lines[name]) for _ in asked[at][1]]
        return replies

    def _node_of(self, key: bytes) -> ClusterNode:
        return self._found().nodes_manager.get_node_from_slot(key_slot(key))

    def _found(self) -> RedisCluster:
        if self._cluster is None:
            self._cluster = client_of(self._url, self._within_s)
        return self._cluster

    @staticmethod
    def _refuse_moved(replies: Sequence[Sequence[Any]]) -> None:
        for reply in (each for some in replies for each in some):
            if isinstance(reply, MOVING):
                raise reply

    def each(self, ask: Callable[[redis.Redis], T]) -> list[T]:
        """What every node that has slots answers."""
        with self._lock:
            try:
                nodes: list[ClusterNode] = self._found().get_primaries()  # type: ignore[no-untyped-call]
                return [ask(self._found().get_redis_connection(node)) for node in nodes]
            except (redis.RedisError, RedisClusterException, OSError) as error:
                self._look_again(error)
                raise

    def _look_again(self, error: Exception) -> None:
        """What is on its way on the connections is anyone's guess; and the slots may be elsewhere by now."""
        for line in self._lines.values():
            line.disconnect()
        self._lines.clear()
        if self._cluster is not None:
            try:
                self._cluster.nodes_manager.initialize()
            except (redis.RedisError, RedisClusterException, OSError) as worse:
                error.add_note(f"nor can the cluster be asked where its slots are: {worse}")

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for line in self._lines.values():
                line.disconnect()
            self._lines.clear()
            if self._cluster is not None:
                self._cluster.close()


def _connection(node: ClusterNode) -> Any:
    """Of our own, since a pool would have it checked before each use; it connects when something is sent."""
    assert node.redis_connection is not None
    return node.redis_connection.connection_pool.make_connection()


def _reply(line: Any) -> Any:
    try:
        return line.read_response()
    except ResponseError as error:
        return error


def _why(error: RedisClusterException, url: str) -> Exception:
    """What kept a cluster from being found; the driver wraps everything alike."""
    if isinstance(error.__cause__, AuthenticationError):
        return error.__cause__
    if "not enabled" in str(error):
        return StoreUnavailable(
            f"the Redis at {shown(url)} is no cluster: say redis:// or rediss:// in WEIR_REDIS"
        )
    return error
