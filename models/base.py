"""The scorer contract: a feature vector in, a score out; a vector and its label in, a better scorer after.

Every scorer names the features that it reads, in the order of the vectors that it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

Vector = Sequence[float]

NETWORK = "sequence"
"""What the network is called among the parts of a score."""

SEQUENCE = f"score:{NETWORK}"
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


@runtime_checkable
class Stack(Scorer, Protocol):
    """A scorer made of parts, which tells what each of them says."""

    def score_parts(self, vectors: Sequence[Vector]) -> tuple[list[float], list[Mapping[str, float]]]:
        """What `score_many` gives, and of each vector by part its own probability of fraud.

        The network's stands in the vector, and is not told again.
        """
        ...


class Series(NamedTuple):
    """What is new of a card, for a network."""

    state: bytes  # as `advance` or `missing` gave it; b"" for a card without a past
    vectors: Sequence[Vector]  # of its events, in order


class Advanced(NamedTuple):
    """A card, after its new events."""

    state: bytes
    scores: list[float]  # the probability of fraud of each


class DeviceFull(MemoryError):
    """The device has no memory for so many cards at once; with fewer it may."""


class SequenceModel(Protocol):
    """A network that reads each card's events in order, and carries a state for it from event to event.

    A batch of N cards gives what N single ones give, and events at once what they give one by one, to 1e-6. Scoring changes
    nothing in it.
    """

    features: tuple[str, ...]

    def advance(self, cards: Sequence[Series]) -> list[Advanced]:
        """The scores of all cards' new events, and the states after them.

        Raises DeviceFull, and what else the device raises; ValueError for a state that is none of this network's.
        """
        ...

    def missing(self, card: Series) -> bytes:
        """The state of a card whose new events the network does not read now: it will before the next ones."""
        ...
