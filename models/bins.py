"""Quantile bins: each feature becomes one of a few intervals; a linear model can then bend as the data does.

The bins are fitted while learning, ever more rarely: after `first` vectors, after twice as many, and so on,
each time from an even sample of what came since the last fit and from the latest frauds. Early bins would
otherwise stand for ever on a stream whose windows were still filling; and a sample without its share of frauds
leaves the bins widest just where they matter.

Narrow bins tell more and learn slower: each sees few labels. `LayeredBins` gives a value its narrow bin and the wider ones
that it lies in, so that neighbours learn together what they have in common and each alone only what it has besides. That is
tile coding with nested tilings (R. S. Sutton, A. G. Barto, Reinforcement Learning, 2nd ed., 2018, section 9.5.4).
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from river import base

from models.base import Vector

TAILS = (0.001, 0.003, 0.01, 0.99, 0.997, 0.999)
"""Quantiles that get an edge of their own: fraud sits in the tails, where even bins are widest."""


class Layer(NamedTuple):
    """One way to cut a feature into bins."""

    edges: list[float]  # ascending, the last one +inf
    keys: list[str]  # River's key of each bin; the last is that of missing values


# River's pipeline only takes for transformers what descends from Transformer too, as its own TargetAgg does.
class QuantileBins(base.SupervisedTransformer, base.Transformer):
    """A River transformer: numbers in, one ``"feature#bin": 1.0`` a feature out; none before the first fit.

    A value that is missing, NaN or +inf has the feature's last bin for its own.

    >>> bins = QuantileBins(("amount",), bins=2, first=4)
    >>> for amount in (1.0, 2.0, 3.0, 4.0):
    ...     bins.learn_one({"amount": amount}, False)
    >>> bins.transform_one({"amount": 1.5}), bins.transform_one({"amount": 9.0}), bins.transform_one({})
    ({'amount#0': 1.0}, {'amount#1': 1.0}, {'amount#2': 1.0})
    """

    merged: tuple[int, ...] = ()

    def __init__(
        self, features: tuple[str, ...], bins: int = 20, first: int = 250, sample: int = 2048
    ) -> None:
        """Give each feature about `bins` intervals, and half as many edges again where the frauds are.

        At most `sample` vectors are kept between two fits, and a quarter as many frauds.
        """
        self.features = features
        self.bins = bins
        self.first = first
        self.sample = sample
        self.learned = 0
        self.next_fit = first
        self.stride = -(-first // sample)  # one vector in so many is kept
        self.kept = array("f")  # row after row; single precision is finer than any bin
        self.frauds = array("f")  # likewise, oldest first
        self.edges: list[list[float]] = []  # ascending, the last one +inf; empty before the first fit

    def learn_one(self, x: dict[Hashable, Any], y: bool | str | float) -> None:  # type: ignore[override]
        """Take one event's features and its label into account."""
        if self.learn_vector([x.get(name, math.nan) for name in self.features], bool(y)):
            self.fit()

    def transform_one(self, x: dict[Hashable, Any]) -> dict[Hashable, Any]:
        """One key a feature and layer: the bin that its value falls into."""
        named = zip(self.features, self.layers(), strict=False)
        return {
            keys[bisect_right(edges, x.get(name, math.nan))]: 1.0
            for name, layers in named
            for edges, keys in layers
        }

    def layers(self) -> list[list[Layer]]:
        """Each feature's bins, and the wider ones that they are merged into; none before the first fit."""
        named = zip(self.features, self.edges, strict=False)
        return [[_layer(name, edges, size) for size in (1, *self.merged)] for name, edges in named]

    def learn_vector(self, vector: Vector, fraud: bool) -> bool:
        """Take values in the features' order into account; tells whether it is time to `fit`."""
        self.learned += 1
        if self.learned % self.stride == 0:
            self.kept.extend(vector)
        if fraud:
            self.frauds.extend(vector)
            most = self.sample // 4 * len(self.features)
            del self.frauds[: max(0, len(self.frauds) - most)]
        return self.learned >= self.next_fit

    def fit(self) -> None:
        """Fit the bins to the sample, and begin a new one."""
        width, extra = len(self.features), self.bins // 2
        self.edges = [fit_edges(column, self.bins) for column in self.columns()]
        if len(self.frauds) >= 4 * extra * width:
            finer = (fit_edges(self.frauds[index::width], extra) for index in range(width))
            self.edges = [sorted({*own, *more}) for own, more in zip(self.edges, finer, strict=True)]
        self.stride = -(-self.learned // self.sample)
        self.next_fit = 2 * self.learned
        self.kept = array("f")

    def columns(self) -> Iterator[array[float]]:
        """The sample's values, feature after feature."""
        width = len(self.features)
        return (self.kept[index::width] for index in range(width))


class LayeredBins(QuantileBins):
    """Quantile bins of several widths: one ``"feature#bin"`` and one ``"feature/size#bin"`` for each size in `merged`.

    >>> bins = LayeredBins(("amount",), bins=4, first=8, merged=(2,))
    >>> for amount in range(8):
    ...     bins.learn_one({"amount": amount}, False)
    >>> bins.transform_one({"amount": 5}), bins.transform_one({"amount": 7}), bins.transform_one({})
    ({'amount#2': 1.0, 'amount/2#1': 1.0}, {'amount#3': 1.0, 'amount/2#1': 1.0}, {'amount#4': 1.0, 'amount/2#2': 1.0})
    """

    def __init__(
        self,
        features: tuple[str, ...],
        bins: int = 60,
        first: int = 250,
        sample: int = 2048,
        merged: tuple[int, ...] = (3, 12),
    ) -> None:
        """As of QuantileBins; so many neighbours as `merged` says are one wider bin besides."""
        super().__init__(features, bins, first, sample)
        self.merged = merged


def _layer(name: str, edges: list[float], size: int) -> Layer:
    """Every `size` neighbours as one bin; missing values stay by themselves."""
    wider = [*edges[size - 1 : -1 : size], math.inf]
    stem = name if size == 1 else f"{name}/{size}"
    return Layer(wider, [f"{stem}#{place}" for place in range(len(wider) + 1)])


def fit_edges(values: Sequence[float], bins: int) -> list[float]:
    """Edges, between values that occur, that cut them into about `bins` equally full intervals, and +inf.

    A value that fills an interval alone gets one, and what is left is shared among the others; the tails are
    cut finer. All missing, or all the same, gives one interval.

    >>> fit_edges([0.0] * 90 + [1.0, 2.0, 3.0, 4.0], bins=3)
    [0.5, 2.5, inf]
    """
    ordered = sorted(value for value in values if math.isfinite(value))
    if not ordered:
        return [math.inf]
    last = len(ordered) - 1
    tails = {_border(ordered, int(quantile * last + 0.5)) for quantile in TAILS if len(ordered) >= 1000}
    edges = set(_even(ordered, bins)) | (tails - {None})
    return [*sorted(edge for edge in edges if edge is not None), math.inf]


def _even(ordered: list[float], bins: int) -> Iterator[float]:
    """Close an interval once it is as full as its share of what was left when it began."""
    left, free, full = len(ordered), bins, 0
    for here, after in pairwise(ordered):
        full += 1
        if here != after and free > 1 and full * free >= left:
            yield (here + after) / 2
            left, free, full = left - full, free - 1, 0


def _border(ordered: list[float], at: int) -> float | None:
    """The edge just below the value at a place, or above the lowest; none where all are equal."""
    value = ordered[at]
    lower = ordered[: bisect_right(ordered, math.nextafter(value, -math.inf))]
    if lower:
        return (lower[-1] + value) / 2
    higher = bisect_right(ordered, value)
    return (value + ordered[higher]) / 2 if higher < len(ordered) else None
