"""Models whose answers an oracle can make again: one that looks random, and one that only counts what it was taught."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

from models.base import Reason
from models.packing import Packed, pack
from stream.pipeline import Champion

THRESHOLD = 0.6


class Dice:
    """Scores depend on the vector and on the model's number alone."""

    name = "dice"

    def __init__(self, number: int) -> None:
        self.number = number
        self.features = ()

    def score_one(self, vector: Sequence[float]) -> float:
        return (
            sum(int(value * 7) for value in vector if not math.isnan(value)) * (self.number + 3) % 11 / 10 % 1
        )

    def score_many(self, vectors: Sequence[Sequence[float]]) -> list[float]:
        return [self.score_one(vector) for vector in vectors]

    def learn_one(self, vector: Sequence[float], fraud: bool) -> None:
        """Nothing."""

    def explain_one(self, vector: Sequence[float], top: int = 3) -> list[Reason]:
        return []

    def dump(self) -> bytes:
        return b""


CHAMPIONS = tuple(Champion(Dice(number), f"dice-{number}", THRESHOLD) for number in range(4))


class Swapped:
    """The champion feed: whichever the world says."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def newest(self) -> Champion:
        return CHAMPIONS[self._world.champion % len(CHAMPIONS)]


class Tally:
    """Learns by counting, so that the order does not matter."""

    name = "tally"

    def __init__(self, features: tuple[str, ...]) -> None:
        self.features = features
        self.taught: Counter[tuple[tuple[float | None, ...], bool]] = Counter()

    def score_one(self, vector: Sequence[float]) -> float:
        return 0.5

    def score_many(self, vectors: Sequence[Sequence[float]]) -> list[float]:
        return [0.5] * len(vectors)

    def learn_one(self, vector: Sequence[float], fraud: bool) -> None:
        self.taught[tuple(None if math.isnan(value) else value for value in vector), fraud] += 1

    def explain_one(self, vector: Sequence[float], top: int = 3) -> list[Reason]:
        return []

    def dump(self) -> bytes:
        state = [[list(vector), fraud, count] for (vector, fraud), count in self.taught.items()]
        return pack(self.name, self.features, state)

    @classmethod
    def load(cls, packed: Packed) -> Self:
        scorer = cls(packed.features)
        for vector, fraud, count in packed.state:
            scorer.taught[tuple(vector), fraud] = count
        return scorer
