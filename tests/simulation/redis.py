"""A simulated Redis for features: the store in memory behind the fence, which loses, empties and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from features.calls import Call, Share, calls_of
from features.events import Event
from features.store import Applied, AtOnce, InMemoryFeatureStore, Run, Source, StoreBehind, StoreUnavailable

if TYPE_CHECKING:
    from tests.simulation.world import World

CALL = 3
"""Items of one script call: the batch is applied in so many steps."""


class SimRedis:
    """The server. Every state that it ever had is told by what was applied to it, in order."""

    def __init__(self, feature_set: Any) -> None:
        self._feature_set = feature_set
        self._store = InMemoryFeatureStore(feature_set)
        self._writes: list[Call[Event]] = []
        self.seq = 0
        self.refusing = 0
        self.lives: list[list[Event]] = [
            []
        ]  # what was applied, by the life of the state: a loss begins another

    def apply(self, call: Call[Event]) -> list[Applied]:
        """One script call."""
        self._refuse_what_follows_something_lost(call.sources)
        answers = self._store.apply(call.items)
        for source in call.sources:
            self._store.apply([], source)
        self.seq = max([self.seq, *(answer.seq for answer in answers)])
        self._writes.append(call)
        self.lives[-1] += call.items
        return answers

    def _refuse_what_follows_something_lost(self, sources: Sequence[Source]) -> None:
        held = self.positions()
        for source in sources:
            stored = held.get(source[:2], 0)
            if stored < source.before:
                raise StoreBehind(source, stored, self.seq)
            held[source[:2]] = max(stored, source.after)

    def positions(self) -> dict[tuple[str, int], int]:
        return self._store.positions()

    def lose(self, writes: int) -> None:
        """Fall back to the state before the newest of the writes."""
        kept = self._writes[: max(0, len(self._writes) - writes)]
        self._store, self._writes, self.seq = InMemoryFeatureStore(self._feature_set), [], 0
        self.lives.append([])
        for call in kept:
            self.apply(call)


class SimLive:
    """What is live: the one feature set that there is (features.redis_generations.RedisLive)."""

    def __init__(self, *_: Any) -> None:
        self._live: Any = None

    def read(self) -> Any:
        return self._live

    def swap(self, generation: Any) -> None:
        self._live = generation

    claim = swap

    def close(self) -> None:
        pass


class SimStore:
    """A client of it, in place of features.redis_store.RedisFeatureStore."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._server = world.redis
        self._seen = 0

    def apply_many(self, runs: Sequence[Run]) -> list[Applied]:
        """As in Redis: call by call, each behind the fence; a lost answer is asked for again."""
        answers = self._pipelined(runs)
        if self._world.point("after apply") == "fail":
            answers = self._pipelined(runs)
        return answers

    def _pipelined(self, runs: Sequence[Run]) -> list[Applied]:
        answers: list[Applied] = []
        for call in calls_of([Share(*run) for run in runs], CALL):
            self._world.point("before apply")
            self._answers()
            if call.sources and self._server.seq < self._seen:
                first = call.sources[0]
                raise StoreBehind(first, self._server.positions().get(first[:2], 0), self._server.seq)
            answers += self._server.apply(call)
        self._seen = max([self._seen, *(answer.seq for answer in answers)])
        return answers

    def batch(self, runs: Sequence[Run]) -> AtOnce:
        return AtOnce(lambda: self.apply_many(runs))

    def positions(self) -> dict[tuple[str, int], int]:
        self._answers()
        self._seen = self._server.seq
        return self._server.positions()

    def _answers(self) -> None:
        if self._server.refusing:
            raise StoreUnavailable("the simulated Redis refuses")

    def close(self) -> None:
        """Nothing to give back."""
