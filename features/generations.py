"""Generations of state: which features' state is live, and what others must know to decide on it.

State belongs to a format and a feature set. A new generation is filled beside the live one, which one key names, and is
swapped in by writing that key.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol

import msgspec

from features.catalogue import FeatureSet
from features.mapping import Source


class Generation(msgspec.Struct, frozen=True):
    """One generation of state, as it is named beside it."""

    format: int  # of the keys and their bytes
    features: FeatureSet
    mapping: str  # `mapping_hash` of the profile that feeds it: others give an event another body

    @property
    def version(self) -> str:
        """The short hash of its features."""
        return self.features.version

    def __str__(self) -> str:
        return f"{self.format}:{self.version}"


class Live(Protocol):
    """Which generation is live, and who fills one."""

    def read(self) -> Generation | None:
        """The live one; None where none is named, or by a Weir whose words this one does not know."""
        ...

    def swap(self, generation: Generation) -> None:
        """Make it the live one, at once."""
        ...

    def claim(self, generation: Generation) -> None:
        """Make it the live one where none is."""
        ...

    def hold(self, generation: Generation, holder: str) -> bool:
        """Be the one who fills a generation, for some seconds more; False where somebody else is."""
        ...

    def let_go(self, generation: Generation, holder: str) -> None:
        """Fill it no more."""
        ...


def mapping_hash(source: Source) -> str:
    """The short hash of how a profile makes events of a source's fields: two that agree give an event the same body and amount."""
    of: tuple[object, ...] = (
        [source.event_id, source.time, source.unit, source.timezone, source.amount],
        [source.currency, source.currency_field, source.entities, source.texts, source.numbers],
    )
    of = (*of, [source.convert_to]) if source.convert_to else of
    return blake2b(msgspec.json.encode(of), digest_size=8).hexdigest()


def encode(generation: Generation) -> bytes:
    """The words that name a generation, for its key."""
    return msgspec.json.encode(generation)


def decode(told: bytes) -> Generation | None:
    """The generation that `encode` named; None for words that this Weir does not know."""
    try:
        return msgspec.json.decode(told, type=Generation)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
