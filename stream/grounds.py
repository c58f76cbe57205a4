"""What decisions rest on: a store, and what must be said of features that it does not know yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from features.store import FeatureStore, Source


class Basis(NamedTuple):
    """What a decision says of the features that it rests on."""

    version: str  # of the feature set whose state they are of
    warming: tuple[str, ...] = ()  # those that are missing because they are still being filled
    rung: str = ""  # what is said instead of the champion's rung


DEGRADED = "degraded"
"""The rung of decisions that rest on no store: it is being filled again."""

NO_STATE = "none"
"""The version of features that rest on no store."""


class Ground(NamedTuple):
    """A store, and what its decisions say of it."""

    store: FeatureStore
    basis: Basis


class Grounds(Protocol):
    """Which ground the next batch is decided on."""

    @property
    def now(self) -> Ground:
        """That of the last batch."""
        ...

    def under(self, sources: Sequence[Source]) -> Ground:
        """That of a batch which follows all that were asked for before, and comes from these places."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class Settled:
    """One ground for ever: the profile's own generation, which is live."""

    def __init__(self, ground: Ground) -> None:
        """Decide on `ground` only."""
        self.now = ground

    def under(self, sources: Sequence[Source]) -> Ground:
        """The same."""
        return self.now

    def close(self) -> None:
        """Nothing is held."""
