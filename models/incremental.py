"""River's logistic regression over quantile bins: learns from one label at a time, scores in microseconds.

River learns; scoring reads the same weights from one flat table a feature, which gives the same sum without
River's dictionaries. Singles and batches add the same numbers in the same order: they agree bit for bit.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import starmap
from struct import Struct
from typing import Self

import numpy as np
from numpy.typing import NDArray
from river import linear_model, optim
from river.utils import VectorDict

from models.base import Reason, Vector
from models.bins import QuantileBins
from models.estimators import from_plain, to_plain
from models.packing import CodecError, Packed, pack

PRIOR_LABELS = 100.0
PRIOR_FRAUDS = 0.5
"""What is thought of fraud before any label: the score of a scorer without bins starts here."""

Column = NDArray[np.float64]

WORTH_COLUMNS = 16
"""From so many vectors on numpy's columns are faster than a loop."""


class RiverScorer:
    """A pipeline of QuantileBins and river.linear_model.LogisticRegression with AdaGrad.

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
        bins: int = 20,
        first: int = 250,
        rate: float = 0.3,
        l2: float = 0.0,
    ) -> None:
        """Fit `bins` a feature after `first` labels, then ever more rarely; `rate` is AdaGrad's."""
        self.features = features
        self.bins = QuantileBins(features, bins, first)
        self.model = linear_model.LogisticRegression(optimizer=optim.AdaGrad(rate), l2=l2)
        self.model.intercept = _logit(PRIOR_FRAUDS / PRIOR_LABELS)
        self.frauds = 0
        self._names: list[list[str]] = []  # feature, bin -> River's key
        self._weights: list[list[float]] = []  # feature, bin -> weight
        self._counts: list[list[int]] = []  # feature, bin -> labels learned in it
        self._columns: list[tuple[Column, Column]] = []  # edges and weights for batches; none after learning
        self._shape()

    def score_one(self, vector: Vector) -> float:
        """The probability of fraud of one event."""
        total = self.model.intercept
        for edges, weights, value in zip(self.bins.edges, self._weights, vector, strict=False):
            total += weights[bisect_right(edges, value)]
        return _sigmoid(total)

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch: column after column, the same additions in the same order."""
        if len(vectors) < WORTH_COLUMNS or not self.bins.edges:
            return list(map(self.score_one, vectors))
        if not self._columns:
            self._columns = [
                (np.array(edges), np.array(weights))
                for edges, weights in zip(self.bins.edges, self._weights, strict=True)
            ]
        totals = np.full(len(vectors), self.model.intercept)
        for (edges, weights), column in zip(self._columns, _columns_of(vectors), strict=True):
            totals += weights[edges.searchsorted(column, side="right")]
        return list(map(_sigmoid, totals.tolist()))

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn from one event whose label has arrived."""
        self.frauds += fraud
        self._columns = []
        if self.bins.learn_vector(vector, fraud):
            self._refit()
        if not self.bins.edges:
            self.model.intercept = _logit((self.frauds + PRIOR_FRAUDS) / (self.bins.learned + PRIOR_LABELS))
            return
        places = self._places(vector)
        keys = [names[place] for names, place in zip(self._names, places, strict=True)]
        self.model.learn_one(dict.fromkeys(keys, 1.0), fraud)
        learned = self.model._weights
        for key, weights, counts, place in zip(keys, self._weights, self._counts, places, strict=True):
            weights[place] = learned[key]
            counts[place] += 1

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """The features that moved this score most from that of an average event, strongest first."""
        reasons = [
            Reason(name, value, weights[place] - _average(weights, counts))
            for name, value, weights, counts, place in zip(
                self.features, vector, self._weights, self._counts, self._places(vector), strict=False
            )
        ]
        return sorted(reasons, key=lambda reason: -abs(reason.weight))[:top]

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

    def _shape(self) -> None:
        """Lay out the tables for the bins as they are."""
        learned = self.model.weights
        named = zip(self.features, self.bins.edges, strict=False)
        self._names = [[f"{name}#{place}" for place in range(len(edges) + 1)] for name, edges in named]
        self._weights = [[learned.get(key, 0.0) for key in keys] for keys in self._names]
        self._counts = [[0] * len(keys) for keys in self._names]

    def _refit(self) -> None:
        """Fit new bins; each begins with the mean of what the sample's events in it had learned before."""
        before, columns = self.bins.edges, list(self.bins.columns())
        weights, steps = self._weights, self._steps()
        self.bins.fit()
        self._shape()
        if before:
            moved = [
                _moved(*each) for each in zip(before, self.bins.edges, columns, weights, steps, strict=True)
            ]
            self._begin([each[0] for each in moved], [each[1] for each in moved])

    def _steps(self) -> list[list[float]]:
        """AdaGrad's sums of squared gradients, laid out as the weights are."""
        sums = self.model.optimizer.g2
        return [[sums.get(key, 0.0) for key in keys] for keys in self._names]

    def _begin(self, weights: list[list[float]], steps: list[list[float]]) -> None:
        self._weights = weights
        self.model._weights = VectorDict(_flat(self._names, weights))
        self.model.optimizer.g2 = defaultdict(float, _flat(self._names, steps))


def _columns_of(vectors: Sequence[Vector]) -> Column:
    """Feature after feature; packed to bytes first, since numpy looks at each number of a list for its type."""
    rows = b"".join(starmap(Struct(f"{len(vectors[0])}d").pack, vectors))
    return np.ascontiguousarray(np.frombuffer(rows).reshape(len(vectors), -1).T)


def _flat(names: list[list[str]], values: list[list[float]]) -> dict[str, float]:
    return {
        key: value
        for keys, row in zip(names, values, strict=True)
        for key, value in zip(keys, row, strict=True)
    }


def _moved(
    before: list[float], after: list[float], sample: Sequence[float], weights: list[float], steps: list[float]
) -> tuple[list[float], list[float]]:
    """Weights and step sums for new edges: means over a sample; the bin of missing values keeps its own."""
    totals = [[0.0, 0.0, 0.0] for _ in range(len(after) + 1)]
    totals[-1] = [weights[-1], steps[-1], 1.0]
    for value in sample:
        if math.isfinite(value):
            total, old = totals[bisect_right(after, value)], bisect_right(before, value)
            total[0] += weights[old]
            total[1] += steps[old]
            total[2] += 1.0
    return [w / max(n, 1.0) for w, _, n in totals], [s / max(n, 1.0) for _, s, n in totals]


def _average(weights: list[float], counts: list[int]) -> float:
    learned = sum(counts)
    return sum(w * n for w, n in zip(weights, counts, strict=True)) / learned if learned else 0.0


def _sigmoid(total: float) -> float:
    if total >= 0:
        return 1.0 / (1.0 + math.exp(-total))
    grown = math.exp(total)
    return grown / (1.0 + grown)


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
