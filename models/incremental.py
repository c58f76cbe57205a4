"""River's logistic regression over quantile bins: learns from one label at a time, scores in microseconds.

River learns; scoring reads the same weights from one flat table a feature, in which a bin and the wider bins around it
are added up already: the same sum without River's dictionaries, and layers cost nothing. Singles and batches add the same
numbers in the same order: they agree bit for bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, starmap
from struct import Struct
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim
from river.utils import VectorDict

from models.base import Reason, Vector
from models.bins import Layer, LayeredBins, QuantileBins
from models.estimators import from_plain, to_plain
from models.logistic import sigmoid
from models.packing import CodecError, Packed, pack

PRIOR_LABELS = 100.0
PRIOR_FRAUDS = 0.5
"""What is thought of fraud before any label: the score of a scorer without bins starts here."""

INTERCEPT_RATE = 0.1
"""How fast the intercept follows each label: as the share of fraud moves, which is faster than any bin fills."""

Column = NDArray[np.float64]

WORTH_COLUMNS = 16
"""From so many vectors on numpy's columns are faster than a loop."""


class RiverScorer:
    """A pipeline of LayeredBins and river.linear_model.LogisticRegression with AdaGrad.

    Until the first bins are fitted every event has the share of fraud seen so far for its score.

    >>> scorer = RiverScorer(("amount",), first=50, rate=0.5)
    >>> for n in range(4000):
    ...     scorer.learn_one([float(n % 100)], fraud=n % 100 > 80)
    >>> scorer.score_one([99.0]) > 0.5 > scorer.score_one([10.0])
    True
    """

    name = "river"

    def __init__(
        self,
        features: tuple[str, ...],
        *,
        bins: int = 60,
        merged: tuple[int, ...] = (3, 12),
        first: int = 250,
        rate: float = 0.3,
        l2: float = 0.0,
    ) -> None:
        """Fit `bins` a feature after `first` labels, then ever more rarely; `rate` is AdaGrad's."""
        self.features = features
        self.bins: QuantileBins = LayeredBins(features, bins, first, merged=merged)
        self.model = linear_model.LogisticRegression(
            optimizer=optim.AdaGrad(rate), l2=l2, intercept_lr=INTERCEPT_RATE
        )
        self.model.intercept = _logit(PRIOR_FRAUDS / PRIOR_LABELS)
        self.frauds = 0
        self._layers: list[list[Layer]] = []
        self._keys: list[list[list[str]]] = []  # feature, bin -> River's keys of it and of those around it
        self._counts: list[list[int]] = []  # feature, bin -> labels learned in it
        self._tables: list[list[float]] = []  # feature, bin -> weight, all layers; none after learning
        self._averages: list[float] = []  # feature -> mean weight of what was learned, as the tables are
        self._columns: list[tuple[Column, Column]] = []  # edges and weights for batches; none after learning
        self._shape()

    def score_one(self, vector: Vector) -> float:
        """The probability of fraud of one event."""
        return sigmoid(self.log_odds(vector))

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch: column after column, the same additions in the same order."""
        if len(vectors) < WORTH_COLUMNS or not self.bins.edges:
            return list(map(self.score_one, vectors))
        return list(map(sigmoid, self.log_odds_many(columns_of(vectors)).tolist()))

    def log_odds(self, vector: Vector) -> float:
        """The log-odds of one event's score; of the vector only the values of the scorer's features are read."""
        total: float = self.model.intercept
        for edges, weights, value in zip(self.bins.edges, self._weights(), vector, strict=False):
            total += weights[bisect_right(edges, value)]
        return total

    def log_odds_many(self, columns: Column) -> Column:
        """The same of a batch as `columns_of` lays it out, a row a feature and maybe more behind them."""
        if not self._columns:
            self._columns = [
                (np.array(edges), np.array(weights))
                for edges, weights in zip(self.bins.edges, self._weights(), strict=bool(self.bins.edges))
            ]
        totals = np.full(columns.shape[1], self.model.intercept)
        for (edges, weights), column in zip(self._columns, columns, strict=False):
            totals += weights[edges.searchsorted(column, side="right")]
        return totals

    def learn_scored(self, vector: Vector, fraud: bool) -> float:
        """Learn from one event; gives the log-odds that it had just before.

        Only the bins that the event falls into are added up, where laying out all of them costs more than learning does.
        """
        total: float = self.model.intercept
        learned: Any = self.model._weights
        for keys, place in zip(self._keys, self._places(vector), strict=True):
            total += _weight(learned, keys[place])
        self.learn_one(vector, fraud)
        return total

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn from one event whose label has arrived."""
        self.frauds += fraud
        self._tables, self._columns = [], []
        if self.bins.learn_vector(vector, fraud):
            self._refit()
        if not self.bins.edges:
            self.model.intercept = _logit((self.frauds + PRIOR_FRAUDS) / (self.bins.learned + PRIOR_LABELS))
            return
        places = self._places(vector)
        keys = [keys[place] for keys, place in zip(self._keys, places, strict=True)]
        self.model.learn_one(dict.fromkeys(chain.from_iterable(keys), 1.0), fraud)
        for counts, place in zip(self._counts, places, strict=True):
            counts[place] += 1

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """The features that moved this score most from that of an average event, strongest first."""
        reasons = [
            Reason(name, value, weights[place] - average)
            for name, value, weights, average, place in zip(
                self.features, vector, self._weights(), self.averages(), self._places(vector), strict=False
            )
        ]
        return sorted(reasons, key=lambda reason: -abs(reason.weight))[:top]

    def averages(self) -> list[float]:
        """By feature: what it adds to a score on average, over all that was learned; none before the first fit."""
        self._weights()  # lays them out too
        return self._averages

    def dump(self) -> bytes:
        """The whole state as bytes: equal states give equal bytes."""
        state = [to_plain(self.bins), to_plain(self.model), self.frauds, self._counts]
        return pack(self.name, self.features, state)

    @classmethod
    def load(cls, packed: Packed) -> Self:
        """The scorer that `dump` wrote; raises CodecError for another state."""
        match packed.state:
            case [dict(bins), dict(model), int(frauds), list(counts)]:
                scorer = cls(packed.features)
                scorer.bins, scorer.model, scorer.frauds = from_plain(bins), from_plain(model), frauds
            case _:
                raise CodecError(f"this is not the state of a {cls.name} scorer")
        scorer._shape()
        scorer._counts = counts
        return scorer

    def _places(self, vector: Vector) -> list[int]:
        return [bisect_right(edges, value) for edges, value in zip(self.bins.edges, vector, strict=False)]

    def _weights(self) -> list[list[float]]:
        """The tables, laid out anew if something was learned since."""
        if not self._tables:
            learned = self.model.weights
            self._tables = [[_weight(learned, keys) for keys in places] for places in self._keys]
            self._averages = list(map(_average, self._tables, self._counts))
        return self._tables

    def _shape(self) -> None:
        """Lay out keys and counts for the bins as they are."""
        self._layers = self.bins.layers()
        self._keys = [list(_keys(layers)) for layers in self._layers]
        self._counts = [[0] * len(places) for places in self._keys]

    def _refit(self) -> None:
        """Fit new bins; each begins with the mean of what the sample's events in it had learned before."""
        before, columns = self._layers, list(self.bins.columns())
        self.bins.fit()
        self._shape()
        if before:
            self._move(before, columns)

    def _move(self, before: list[list[Layer]], columns: Sequence[Sequence[float]]) -> None:
        """Carry weights and AdaGrad's sums of squared gradients over from the bins before."""
        learned, squares = self.model.weights, self.model.optimizer.g2
        weights: dict[str, float] = {}
        steps: dict[str, float] = {}
        for olds, news, sample in zip(before, self._layers, columns, strict=True):
            for old, new in zip(olds, news, strict=True):
                own, pace = _moved(old, new, sample, learned, squares)
                weights.update(zip(new.keys, own, strict=True))
                steps.update(zip(new.keys, pace, strict=True))
        self.model._weights = VectorDict(weights)
        self.model.optimizer.g2 = defaultdict(float, steps)


def _weight(learned: Mapping[str, float], keys: Sequence[str]) -> float:
    """Of a narrow bin and those around it."""
    return sum([learned.get(key, 0.0) for key in keys])


def columns_of(vectors: Sequence[Vector]) -> Column:
    """Feature after feature; packed to bytes first, since numpy looks at each number of a list for its type."""
    rows = b"".join(starmap(Struct(f"{len(vectors[0])}d").pack, vectors))
    return np.ascontiguousarray(np.frombuffer(rows).reshape(len(vectors), -1).T)


def _keys(layers: list[Layer]) -> Iterator[list[str]]:
    """Of each narrow bin the keys of all layers: of a wider one what it lies in, its own for missing values."""
    edges = [-math.inf, *layers[0].edges]
    for edge in edges:
        yield [layer.keys[bisect_right(layer.edges, edge)] for layer in layers]


def _moved(
    old: Layer,
    new: Layer,
    sample: Sequence[float],
    weights: Mapping[str, float],
    steps: Mapping[str, float],
) -> tuple[list[float], list[float]]:
    """Weights and step sums for new edges: means over a sample; the bin of missing values keeps its own."""
    before = [(weights.get(key, 0.0), steps.get(key, 0.0)) for key in old.keys]
    totals = [[0.0, 0.0, 0.0] for _ in new.keys]
    totals[-1] = [*before[-1], 1.0]
    for value in sample:
        if math.isfinite(value):
            total = totals[bisect_right(new.edges, value)]
            weight, step = before[bisect_right(old.edges, value)]
            total[0] += weight
            total[1] += step
            total[2] += 1.0
    return [w / max(n, 1.0) for w, _, n in totals], [s / max(n, 1.0) for _, s, n in totals]


def _average(weights: list[float], counts: list[int]) -> float:
    learned = sum(counts)
    return sum(w * n for w, n in zip(weights, counts, strict=True)) / learned if learned else 0.0


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
