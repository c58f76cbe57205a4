"""Scorers that learn nothing worth the name: whatever is worth running is better than these."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.base import Reason, Vector
from models.logistic import sigmoid
from models.packing import CodecError, Packed, pack


class NullScorer:
    """Gives every event the same score: the share of fraud among the labels so far.

    >>> scorer = NullScorer(("amount",))
    >>> for fraud in (True, False, False):
    ...     scorer.learn_one([1.0], fraud)
    >>> scorer.score_one([99.0])
    0.4
    """

    name = "null"

    def __init__(self, features: tuple[str, ...]) -> None:
        """Begin with one imagined fraud among two labels."""
        self.features = features
        self.frauds = 1
        self.labels = 2

    def score_one(self, vector: Vector) -> float:
        """The share of fraud."""
        return self.frauds / self.labels

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch."""
        return [self.score_one(vector) for vector in vectors]

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Count one label."""
        self.frauds += fraud
        self.labels += 1

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """Nothing: no feature moves the score."""
        return []

    def dump(self) -> bytes:
        """The counts as bytes."""
        return pack(self.name, self.features, [self.frauds, self.labels])

    @classmethod
    def load(cls, packed: Packed) -> Self:
        """The scorer that `dump` wrote."""
        scorer = cls(packed.features)
        match packed.state:
            case [int(frauds), int(labels)] if 0 < frauds < labels:
                scorer.frauds, scorer.labels = frauds, labels
            case _:
                raise CodecError("this is not the state of a null scorer")
        return scorer


class RandomScorer:
    """Gives every vector a score of its own in 0..1 that depends on the vector and the seed alone.

    >>> one, same, other = (RandomScorer(("amount",), seed).score_one([5.0]) for seed in (1, 1, 2))
    >>> one == same, one == other
    (True, False)
    """

    name = "random"

    def __init__(self, features: tuple[str, ...], seed: int = 0) -> None:
        """Scores of another `seed` (0..2**64-1) have nothing to do with these."""
        self.features = features
        self.seed = seed

    def score_one(self, vector: Vector) -> float:
        """A number that looks drawn at random."""
        key = self.seed.to_bytes(8, "little")
        digest = blake2b(struct.pack(f"<{len(vector)}d", *vector), digest_size=8, key=key).digest()
        return (int.from_bytes(digest, "little") >> 11) / 2**53

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch."""
        return [self.score_one(vector) for vector in vectors]

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn nothing."""

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """Nothing: the features only stir the dice."""
        return []

    def dump(self) -> bytes:
        """The seed as bytes."""
        return pack(self.name, self.features, self.seed)

    @classmethod
    def load(cls, packed: Packed) -> Self:
        """The scorer that `dump` wrote."""
        match packed.state:
            case int(seed) if 0 <= seed < 2**64:
                return cls(packed.features, seed)
            case _:
                raise CodecError("this is not the state of a random scorer")


class Rule(NamedTuple):
    """A feature that is at least so high adds so many points of log-odds. A missing value adds none."""

    feature: str
    least: float
    points: float


FEW = -6.0
"""The log-odds of an event that no rule speaks of: one fraud in four hundred."""


class RulesScorer:
    """The rules of thumb that a person would write down, and nothing learned: the baseline that a model has to beat.

    >>> scorer = RulesScorer(("risk", "ratio"), (Rule("risk", 0.5, 5.0), Rule("ratio", 4.0, 2.0)))
    >>> [round(scorer.score_one(vector), 3) for vector in ([0.0, 1.0], [0.0, 9.0], [0.7, 9.0])]
    [0.002, 0.018, 0.731]
    """

    name = "rules"

    def __init__(self, features: tuple[str, ...], rules: Sequence[Rule] = ()) -> None:
        """Raises ValueError for a rule whose feature is not among `features`."""
        self.features = features
        self.rules = tuple(rules)
        self._placed = [(features.index(rule.feature), rule.least, rule.points) for rule in self.rules]

    def score_one(self, vector: Vector) -> float:
        """The probability of fraud that the points stand for."""
        return sigmoid(self.log_odds(vector))

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch."""
        return list(map(self.score_one, vectors))

    def log_odds(self, vector: Vector) -> float:
        """The points of the rules that hold, from `FEW` on; of the vector only what rules read is looked at."""
        total = FEW
        for place, least, points in self._placed:
            if vector[place] >= least:
                total += points
        return total

    def log_odds_many(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of a batch, a row a feature and maybe more behind them."""
        totals = np.full(columns.shape[1], FEW)
        for place, least, points in self._placed:
            totals[columns[place] >= least] += points
        return totals

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn nothing."""

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """The rules that hold, those of the most points first."""
        reasons = [
            Reason(rule.feature, vector[place], points)
            for rule, (place, least, points) in zip(self.rules, self._placed, strict=True)
            if vector[place] >= least
        ]
        return sorted(reasons, key=lambda reason: -abs(reason.weight))[:top]

    def dump(self) -> bytes:
        """The rules as bytes."""
        return pack(self.name, self.features, self.plain())

    def plain(self) -> list[list[Any]]:
        """The rules as plain values."""
        return [list(rule) for rule in self.rules]

    @classmethod
    def load(cls, packed: Packed) -> Self:
        """The scorer that `dump` wrote."""
        if not isinstance(packed.state, list) or not all(map(_is_rule, packed.state)):
            raise CodecError("this is not the state of a rules scorer")
        try:
            return cls(packed.features, [Rule(*each) for each in packed.state])
        except ValueError as error:
            raise CodecError(f"a rule reads what is no feature of the scorer: {error}") from error


def _is_rule(plain: Any) -> bool:
    match plain:
        case [str(), float(least), float(points)]:
            return not math.isnan(least) and abs(points) < 100.0
        case _:
            return False
