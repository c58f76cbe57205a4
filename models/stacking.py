"""How the log-odds of several models become one probability, learned from each label that arrives.

Two steps. The *combination* is a logistic regression on the parts' log-odds whose weights are a Gaussian belief that a Kalman
filter moves with each label, and that widens a little between two, since what was right a month ago may not be right today:
"dynamic logistic regression" (T. H. McCormick, A. E. Raftery, D. Madigan, R. S. Burd, Biometrics 68, 2012). It begins as the
prior says, an average of the parts. It calibrates too: its slope and its offset are learned.

The *mixture* is over the parts as they are and the combination: each has a share by how likely it made the labels so far (the
aggregating algorithm for log loss, V. Vovk, 1990), of which a little goes round at each label, so that one that was bad for
long is back soon once it is the best (fixed share, M. Herbster, M. K. Warmuth, Machine Learning 32, 1998). So over any stretch
the loss of the mixture is at most that of the best of them in that stretch and a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.logistic import sigmoid
from models.packing import CodecError

Column = NDArray[np.float64]

LOG_ODDS = 16.0
"""No part is surer than this: beyond it lies less than one in eight million."""

WIDTH = 0.3
"""How sure the prior is of each weight: its standard deviation."""

DRIFT = 1e-9
"""By how much the belief in each weight widens with each label: variance."""

SHARED = 1e-6
"""The part of all shares that goes round evenly at each label."""


class Weights(NamedTuple):
    """What counts for how much."""

    offset: float
    parts: tuple[float, ...]  # of the combination, by part
    shares: tuple[float, ...]  # of the mixture: by part, and last the combination's; they add up to 1


class Stack:
    """One probability from the log-odds of parts.

    >>> stack = Stack((0.5, 0.5))
    >>> for number in range(2000):
    ...     stack.learn((3.0 if number % 9 == 0 else -3.0, 0.0), fraud=number % 9 == 0)
    >>> stack.score((3.0, 0.0)) > 0.9 > 0.1 > stack.score((-3.0, 0.0))
    True
    """

    def __init__(self, prior: Sequence[float]) -> None:
        """`prior` has the combination's weight of each part before any label, which is its part in the mixture, too."""
        count = len(prior)
        self._weights = [0.0, *prior]
        self._covariance = [
            [WIDTH**2 if row == column else 0.0 for column in range(count + 1)] for row in range(count + 1)
        ]
        self._shares = [0.5 * each / sum(prior) for each in prior] + [0.5]

    @property
    def weights(self) -> Weights:
        """As they are now."""
        return Weights(self._weights[0], tuple(self._weights[1:]), tuple(self._shares))

    def score(self, log_odds: Sequence[float]) -> float:
        """The probability of fraud; each of `log_odds` within the bounds of `LOG_ODDS`."""
        *parts, combined = self._shares
        total = combined * sigmoid(self._combined(log_odds))
        for share, each in zip(parts, log_odds, strict=True):
            total += share * sigmoid(each)
        return min(total, 1.0)

    def score_many(self, log_odds: Sequence[Column]) -> Column:
        """The same of many events, a column a part: the same operations in the same order, so the same to the bit."""
        *parts, combined = self._shares
        total: Column = combined * sigmoids(self._combined_many(log_odds))
        for share, each in zip(parts, log_odds, strict=True):
            total += share * sigmoids(each)
        return np.minimum(total, 1.0)

    def learn(self, log_odds: Sequence[float], fraud: bool) -> None:
        """Learn from one label."""
        combined = sigmoid(self._combined(log_odds))
        self._share(log_odds, combined, fraud)
        self._filter((1.0, *log_odds), combined, fraud)

    def parts_of(self, log_odds: Sequence[float]) -> list[float]:
        """By part: how much the log-odds of the score move with the part's, near these ones."""
        *parts, combined = self._shares
        slopes = [share * slope(each) for share, each in zip(parts, log_odds, strict=True)]
        through = combined * slope(self._combined(log_odds))
        score = self.score(log_odds)
        whole = max(score * (1.0 - score), sum(slopes) + through, 1e-300)
        return [
            (own + through * weight) / whole for own, weight in zip(slopes, self._weights[1:], strict=True)
        ]

    def plain(self) -> list[Any]:
        """The state as plain values."""
        return [self._weights, self._covariance, self._shares]

    @classmethod
    def of_plain(cls, state: Any, parts: int) -> Stack:
        """What `plain` gave of a stack of so many parts; raises CodecError for anything else."""
        match state:
            case [list(weights), list(covariance), list(shares)]:
                rows = [weights, shares, *covariance]
            case _:
                raise CodecError("this is not the state of a stack")
        if len(covariance) != parts + 1 or not all(_floats(row, parts + 1) for row in rows):
            raise CodecError(f"this is not the state of a stack of {parts} parts")
        stack = cls([1.0] * parts)
        stack._weights, stack._covariance, stack._shares = weights, covariance, shares
        return stack

    def _combined(self, log_odds: Sequence[float]) -> float:
        total = self._weights[0]
        for weight, each in zip(self._weights[1:], log_odds, strict=True):
            total += weight * each
        return total

    def _combined_many(self, log_odds: Sequence[Column]) -> Column:
        total = np.full(len(log_odds[0]), self._weights[0])
        for weight, each in zip(self._weights[1:], log_odds, strict=True):
            total += weight * each
        return total

    def _share(self, log_odds: Sequence[float], combined: float, fraud: bool) -> None:
        """Each share grows with the probability that was given to what happened."""
        said = [*map(sigmoid, log_odds), combined]
        likely = [
            share * max(each if fraud else 1.0 - each, 1e-12)
            for share, each in zip(self._shares, said, strict=True)
        ]
        whole, even = sum(likely), SHARED / len(likely)
        self._shares = [(1.0 - SHARED) * each / whole + even for each in likely]

    def _filter(self, seen: Sequence[float], said: float, fraud: bool) -> None:
        """One step of the Kalman filter, the log loss taken as a parabola around what was said."""
        leverage = [_dot(row, seen) for row in self._covariance]
        certainty = said * (1.0 - said)
        scale = 1.0 / (1.0 + certainty * _dot(leverage, seen))
        step = scale * (fraud - said)
        self._weights = [weight + step * each for weight, each in zip(self._weights, leverage, strict=True)]
        shrink = scale * certainty
        for place, (row, own) in enumerate(zip(self._covariance, leverage, strict=True)):
            taken = shrink * own
            row[:] = [each - taken * other for each, other in zip(row, leverage, strict=True)]
            row[place] += DRIFT


def sigmoids(log_odds: Column) -> Column:
    """The same of a column, by the same function: numpy's own exponential may differ in the last bit."""
    return np.fromiter(map(sigmoid, log_odds.tolist()), np.float64, len(log_odds))


def bounded(log_odds: float) -> float:
    """Log-odds as a stack takes them."""
    return min(max(log_odds, -LOG_ODDS), LOG_ODDS)


def logit(probability: float) -> float:
    """The log-odds of a probability within the bounds of `LOG_ODDS`.

    >>> logit(0.5), logit(0.0), logit(1.0)
    (0.0, -16.0, 16.0)
    """
    if not LEAST < probability < MOST:
        return LOG_ODDS if probability >= MOST else -LOG_ODDS
    return math.log(probability / (1.0 - probability))


def slope(log_odds: float) -> float:
    """How fast the probability moves with the log-odds."""
    probability = sigmoid(log_odds)
    return probability * (1.0 - probability)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    total = 0.0
    for each, factor in zip(one, other, strict=True):
        total += each * factor
    return total


def _floats(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(each, float) and math.isfinite(each) for each in values)
    )


LEAST, MOST = sigmoid(-LOG_ODDS), sigmoid(LOG_ODDS)
