"""The scorer contract: a feature vector in, a score out; a vector and its label in, a better scorer after.

Every scorer names the features that it reads, in the order of the vectors that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

Vector = Sequence[float]

SEQUENCE = "score:sequence"
"""Stands behind an event's features for a scorer that reads it: the network's probability of fraud, NaN where it has none."""

MEASURES = {SEQUENCE: "probability of fraud"}
"""What each of such numbers measures, whichever network made it: its part of a snapshot's hashes."""


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why a score is what it is: one feature's part in it."""

    feature: str
    value: float  # the feature's value
    weight: float  # its part in the score's log-odds; positive speaks for fraud


class Scorer(Protocol):
    """Anything that scores vectors and may learn from labelled ones.

    A score is a calibrated probability of fraud in 0..1. ``score_many`` of N vectors equals N times
    ``score_one``, bit for bit; scoring changes nothing. ``models.checks`` holds every scorer to this.
    """

    name: str
    features: tuple[str, ...]

    def score_one(self, vector: Vector) -> float:
        """The probability of fraud of one event."""
        ...

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch."""
        ...

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn from one event whose label has arrived."""
        ...

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """The features that moved this score most, strongest first."""
        ...

    def dump(self) -> bytes:
        """The whole state as bytes, without pickle: equal states give equal bytes."""
        ...


@runtime_checkable
class Weighed(Protocol):
    """A scorer made of parts, which tells what each of them counts for."""

    def weights(self) -> dict[str, float]:
        """By part: what its log-odds count for in the score's."""
        ...
