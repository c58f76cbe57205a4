"""Which generation of the feature store is live in Redis: one key, beside the stores' own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import RedisClusterException, RedisError

from features import redis_copy
from features.generations import Generation, decode, encode, mapping_hash
from features.profile import Profile
from features.redis_nodes import client_of, is_cluster
from features.redis_patience import shown
from features.redis_states import positions_of
from features.redis_store import ANSWER_WITHIN_S, FORMAT, base_key
from features.store import StoreUnavailable

HELD_MS = 15_000
"""Who fills a generation says so again within this time, or is taken for dead."""

T = TypeVar("T")


def generation_of(profile: Profile) -> Generation:
    """The generation that a profile's state belongs to."""
    return Generation(FORMAT, profile.features, mapping_hash(profile.source))


def live_key(prefix: str) -> str:
    """The key that names the live generation; it begins as the stores' keys do, so a backup holds it.

    >>> live_key("weir:")
    '{weir::live}'
    """
    return f"{{{prefix}:live}}"


class RedisLive:
    """The live generation (features.generations.Live) of the stores of one name."""

    def __init__(self, url: str, prefix: str) -> None:
        """Look when asked. Every call raises StoreUnavailable."""
        self._url, self._prefix = url, prefix
        self._redis = client_of(url, ANSWER_WITHIN_S)

    def read(self) -> Generation | None:
        """The live one; None where none is named, or by a Weir whose words this one does not know."""
        told = self._told(lambda: self._redis.get(live_key(self._prefix)))
        return decode(told) if isinstance(told, bytes) else None

    def swap(self, generation: Generation) -> None:
        """Make it the live one, at once; when the one before it ceased to be is noted."""
        before = self._told(lambda: self._redis.set(live_key(self._prefix), encode(generation), get=True))
        other = decode(before) if isinstance(before, bytes) else None
        if other is not None and str(other) != str(generation):
            self._told(lambda: self._redis.hset(self._left(), str(other), time.time_ns() // 1_000))

    def left(self) -> dict[str, int]:
        """By name: when generations ceased to be live, in microseconds since 1970."""
        told: dict[bytes, bytes] = self._told(lambda: self._redis.hgetall(self._left()))
        return {name.decode(): int(at) for name, at in told.items()}

    def forget_left(self, name: str) -> None:
        """That generation is no more."""
        self._told(lambda: self._redis.hdel(self._left(), name))

    def claim(self, generation: Generation) -> None:
        """Make it the live one where none is."""
        self._told(lambda: self._redis.set(live_key(self._prefix), encode(generation), nx=True))

    def hold(self, generation: Generation, holder: str) -> bool:
        """Be the one who fills a generation, for HELD_MS more; False where somebody else is."""
        name = self._filling(generation)

        def held() -> bool:
            if self._redis.set(name, holder, nx=True, px=HELD_MS):
                return True
            ours = self._redis.get(name) == holder.encode()
            return ours and bool(self._redis.set(name, holder, xx=True, px=HELD_MS))

        return self._told(held)

    def let_go(self, generation: Generation, holder: str) -> None:
        """Fill it no more."""
        name = self._filling(generation)

        def give_back() -> None:
            if self._redis.get(name) == holder.encode():
                self._redis.delete(name)

        self._told(give_back)

    def is_held(self, name: str) -> bool:
        """Whether somebody fills the generation of this name now."""
        return bool(self._told(lambda: self._redis.exists(f"{self._prefix}filling:{name}")))

    def held(self, generation: Generation) -> dict[tuple[str, int], int]:
        """By topic and partition: how far a generation was filled."""
        base = base_key(self._prefix, generation.features)
        if is_cluster(self._url):
            return self._held_by_all(base.decode())
        found: dict[Any, Any] = self._told(lambda: self._redis.hgetall(base + b"p"))
        return positions_of(found.items())

    def _held_by_all(self, base: str) -> dict[tuple[str, int], int]:
        """How far every shard of a cluster holds it."""
        heads = redis_copy.marks(self._url, base.removesuffix("}"))
        positions = redis_copy.positions_in((key, "hash", held) for key, held in heads.items())
        places = {name.rpartition("/"): at for name, at in redis_copy.held_by(positions, base).items()}
        return {(topic, int(part)): at for (topic, _, part), at in places.items()}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _filling(self, generation: Generation) -> str:
        """Not among the stores' keys: it is nothing to be kept."""
        return f"{self._prefix}filling:{generation}"

    def _left(self) -> str:
        return f"{self._prefix}left"

    def _told(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (RedisError, RedisClusterException) as error:
            raise StoreUnavailable(
                f"the Redis at {shown(self._url)} does not say which features are live: {error}"
            ) from error
