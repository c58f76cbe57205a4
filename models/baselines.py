"""Scorers that know nothing: whatever is worth running is better than these."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Self

from models.base import Reason, Vector
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
