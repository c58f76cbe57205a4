"""A simulated Redis for features: the store in memory behind the fence, which loses, empties and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from features.events import Event
from features.store import Applied, InMemoryFeatureStore, Source, StoreBehind, StoreUnavailable

if TYPE_CHECKING:
    from tests.simulation.world import World

CALL = 3
"""Items of one script call: the batch is applied in so many steps."""


class SimRedis:
    """The server. Every state that it ever had is told by what was applied to it, in order."""

    def __init__(self, feature_set: Any) -> None:
        self._feature_set = feature_set
        self._store = InMemoryFeatureStore(feature_set)
        self._writes: list[tuple[Sequence[Event], Source | None]] = []
        self.seq = 0
        self.refusing = 0
        self.lives: list[list[Event]] = [
            []
        ]  # what was applied, by the life of the state: a loss begins another

    def apply(self, events: Sequence[Event], source: Source | None) -> list[Applied]:
        """One script call."""
        answers = self._store.apply(events, source)
        self.seq = max([self.seq, *(answer.seq for answer in answers)])
        self._writes.append((events, source))
        self.lives[-1] += events
        return answers

    def positions(self) -> dict[tuple[str, int], int]:
        return self._store.positions()

    def lose(self, writes: int) -> None:
        """Fall back to the state before the newest of the writes."""
        kept = self._writes[: max(0, len(self._writes) - writes)]
        self._store, self._writes, self.seq = InMemoryFeatureStore(self._feature_set), [], 0
        self.lives.append([])
        for events, source in kept:
            self.apply(events, source)


class SimStore:
    """A client of it, in place of features.redis_store.RedisFeatureStore."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._server = world.redis
        self._seen = 0

    def apply(self, batch: Sequence[Event], source: Source | None = None) -> list[Applied]:
        """As in Redis: call by call, each behind the fence; a lost answer is asked for again."""
        answers = self._pipelined(batch, source)
        if self._world.point("after apply") == "fail":
            answers = self._pipelined(batch, source)
        return answers

    def _pipelined(self, batch: Sequence[Event], source: Source | None) -> list[Applied]:
        answers: list[Applied] = []
        for at in range(0, max(1, len(batch)), CALL):
            self._world.point("before apply")
            self._answers()
            events, part = batch[at : at + CALL], None
            if source is not None:
                last = at + CALL >= len(batch)
                before = min(source.before + at, source.after)
                part = source._replace(
                    before=before, after=source.after if last else min(before + CALL, source.after)
                )
                if self._server.seq < self._seen:
                    raise StoreBehind(part, self._server.positions().get(part[:2], 0), self._server.seq)
            answers += self._server.apply(events, part)
        self._seen = max([self._seen, *(answer.seq for answer in answers)])
        return answers

    def positions(self) -> dict[tuple[str, int], int]:
        self._answers()
        self._seen = self._server.seq
        return self._server.positions()

    def _answers(self) -> None:
        if self._server.refusing:
            raise StoreUnavailable("the simulated Redis refuses")

    def close(self) -> None:
        """Nothing to give back."""
