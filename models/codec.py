"""From bytes to the scorer that wrote them."""

from __future__ import annotations

from collections.abc import Callable

from models.base import Scorer
from models.baselines import NullScorer, RandomScorer, RulesScorer
from models.ensemble import EnsembleScorer
from models.incremental import RiverScorer
from models.packing import CodecError, Packed, unpack

__all__ = ["CodecError", "load_scorer"]

LOADERS: dict[str, Callable[[Packed], Scorer]] = {
    RiverScorer.name: RiverScorer.load,
    NullScorer.name: NullScorer.load,
    RandomScorer.name: RandomScorer.load,
    RulesScorer.name: RulesScorer.load,
    EnsembleScorer.name: EnsembleScorer.load,
}


def load_scorer(data: bytes, features: tuple[str, ...]) -> Scorer:
    """The scorer that these bytes hold; raises CodecError if they are damaged or it reads other features."""
    packed = unpack(data)
    if packed.features != features:
        raise CodecError(
            f"the {packed.kind} scorer reads {_list(packed.features)}; the profile gives {_list(features)}"
        )
    if packed.kind not in LOADERS:
        raise CodecError(f"{packed.kind!r} is not a scorer known here; these are: {', '.join(LOADERS)}")
    return LOADERS[packed.kind](packed)


def _list(features: tuple[str, ...]) -> str:
    return ", ".join(features) or "nothing"
