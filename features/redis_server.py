"""What a Redis says of itself: for those who look whether it can be relied on."""

from __future__ import annotations

from contextlib import closing

import msgspec
import redis
from redis.exceptions import RedisClusterException, RedisError

from features.redis_nodes import Nodes, is_cluster, name_of
from features.store import StoreUnavailable

ANSWER_WITHIN_S = 5.0


class RedisFacts(msgspec.Struct, frozen=True):
    """The parts of INFO that decide whether state is safe there."""

    version: str
    policy: str  # maxmemory-policy
    append_only: bool
    used: int  # bytes
    limit: int  # bytes; 0: none
    role: str  # "master" or "slave"
    now_s: float  # by its clock


def redis_facts(url: str) -> dict[str, RedisFacts]:
    """Ask the server at `url`, or every node of a cluster that has slots, by name (a server alone has none).

    Raises StoreUnavailable.
    """
    try:
        if is_cluster(url):
            with closing(Nodes(url, ANSWER_WITHIN_S)) as nodes:
                return dict(nodes.each(lambda node: (name_of(node), _facts(node))))
        with redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S) as client:
            return {"": _facts(client)}
    except (RedisError, RedisClusterException, ValueError) as error:
        raise StoreUnavailable(f"the Redis does not answer: {error}") from error


def _facts(client: redis.Redis) -> RedisFacts:
    told = client.info("everything")
    seconds, microseconds = client.time()
    return RedisFacts(
        version=str(told.get("valkey_version") or told["redis_version"]),
        policy=str(told.get("maxmemory_policy", "")),
        append_only=bool(told.get("aof_enabled", 0)),
        used=int(told.get("used_memory", 0)),
        limit=int(told.get("maxmemory", 0)),
        role=str(told.get("role", "master")),
        now_s=seconds + microseconds / 1e6,
    )
