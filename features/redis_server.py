"""What a Redis says of itself: for those who look whether it can be relied on."""

from __future__ import annotations

import msgspec
import redis
from redis.exceptions import RedisError

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


def redis_facts(url: str) -> RedisFacts:
    """Ask the server at `url`; raises StoreUnavailable."""
    try:
        with redis.Redis.from_url(url, socket_timeout=ANSWER_WITHIN_S) as client:
            told = client.info("everything")
            seconds, microseconds = client.time()
    except (RedisError, ValueError) as error:
        raise StoreUnavailable(f"the Redis does not answer: {error}") from error
    return RedisFacts(
        version=str(told.get("valkey_version") or told["redis_version"]),
        policy=str(told.get("maxmemory_policy", "")),
        append_only=bool(told.get("aof_enabled", 0)),
        used=int(told.get("used_memory", 0)),
        limit=int(told.get("maxmemory", 0)),
        role=str(told.get("role", "master")),
        now_s=seconds + microseconds / 1e6,
    )
