"""What a River scorer has learned, carried to other features: those that stayed keep all of it, new ones begin at zero.

What a feature that went had added to the scores on average stays in the intercept, so that they do not jump. A new feature
has one bin until the next fit, which is brought forward: after as many labels as a sample holds, of whatever age the
scorer is. In the part of the sample that is older than a feature its value is missing.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Collection, Sequence
from copy import copy
from typing import Any

from river.utils import VectorDict

from models.bins import QuantileBins
from models.incremental import RiverScorer


def carried(scorer: RiverScorer, features: tuple[str, ...], kept: Collection[str]) -> RiverScorer:
    """A scorer of these features that knows what `scorer` knew of those that are `kept`. The old one is used up.

    >>> old = RiverScorer(("a", "b"), first=20)
    >>> for number in range(100):
    ...     old.learn_one([float(number % 10), 0.0], fraud=number % 10 > 7)
    >>> before = old.score_one([9.0, 0.0])
    >>> abs(carried(old, ("c", "b", "a"), {"a", "b"}).score_one([5.0, 0.0, 9.0]) - before) < 1e-9
    True
    """
    places = [scorer.features.index(name) if name in kept else None for name in features]
    gone = [place for place, name in enumerate(scorer.features) if name not in features or name not in kept]
    model, old = scorer.model, scorer
    if old.bins.edges:
        averages = old.averages()
        model.intercept += sum(averages[place] for place in gone)
    kept_layers = [old._layers[place] for place in places if place is not None and old._layers]
    stays = {key for layers in kept_layers for layer in layers for key in layer.keys}
    model._weights = VectorDict(_of(stays, model._weights))
    model.optimizer.g2 = defaultdict(float, _of(stays, model.optimizer.g2))
    made = RiverScorer(features)
    made.model, made.frauds, made.bins = model, old.frauds, _bins(old.bins, features, places)
    made._shape()
    for counts, place in zip(made._counts, places, strict=False):
        if place is not None:
            counts[:] = old._counts[place]
    return made


def _of(keys: Collection[str], values: Any) -> dict[str, float]:
    return {key: value for key, value in values.items() if key in keys}


def _bins(old: QuantileBins, features: tuple[str, ...], places: Sequence[int | None]) -> QuantileBins:
    bins, width = copy(old), len(old.features)
    bins.features = features
    bins.kept, bins.frauds = _rows(old.kept, width, places), _rows(old.frauds, width, places)
    if old.edges:
        bins.edges = [[math.inf] if place is None else old.edges[place] for place in places]
        if None in places:
            bins.next_fit, bins.stride = old.learned + old.sample, 1
    return bins


def _rows(rows: Any, width: int, places: Sequence[int | None]) -> Any:
    """Row after row, with these columns; a column that was not there is missing."""
    made = array("f")
    for start in range(0, len(rows), width):
        made.extend(math.nan if place is None else rows[start + place] for place in places)
    return made
