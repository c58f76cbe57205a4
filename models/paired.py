"""Whether one scorer is better than another on the same events: differences paired by day, with a confidence interval.

Days differ more than scorers do, so both are measured on the same ones, and days are what is drawn anew (the percentile
bootstrap, B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, 1993, with days for its units). A stretch that is measured
by itself, such as a fold's test week, keeps its number of days; measures are means over the stretches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.measures import Mask, Scores, found_a_day

Places = NDArray[np.intp]
Counts = NDArray[np.float64]
Value = Callable[[Counts], float]
"""A measure of a stretch in which each day counts so many times."""


class Judged(NamedTuple):
    """What is known of the events, event by event."""

    fraud: Mask
    days: NDArray[np.uint16]
    cards: NDArray[np.uint32]


class Difference(msgspec.Struct, frozen=True):
    """How much better the one is than the other; with 95 % confidence it lies from `low` to `high`."""

    value: float
    low: float
    high: float


class Differences(msgspec.Struct, frozen=True):
    """By measure."""

    average_precision: Difference
    card_precision: Difference


def paired_differences(
    ours: Scores,
    theirs: Scores,
    judged: Judged,
    *,
    stretches: Sequence[Places] = (),
    k: int = 100,
    resamples: int = 1000,
    seed: int = 0,
) -> Differences:
    """How much better `ours` are than `theirs`; `stretches` have the places of events measured together, in order.

    Without any, all events are one stretch. Raises ValueError where one has no frauds or no event.

    >>> fraud = np.tile([True, False, False, True], 30)
    >>> judged = Judged(fraud, np.repeat(np.arange(30), 4).astype(np.uint16), np.arange(120, dtype=np.uint32))
    >>> good, poor = np.where(fraud, 0.9, 0.1), np.tile([0.9, 0.8, 0.1, 0.2], 30)
    >>> paired_differences(good, poor, judged, k=2).card_precision
    Difference(value=0.5, low=0.5, high=0.5)
    """
    chosen = list(stretches) or [np.arange(len(ours))]
    days = [np.unique(judged.days[places]) for places in chosen]
    measures = [
        [(_average_precision(scores, judged, places), _cards(scores, judged, places, k)) for places in chosen]
        for scores in (ours, theirs)
    ]

    def differ(counts: Sequence[Counts]) -> list[float]:
        one, other = (_means(of_scores, counts) for of_scores in measures)
        return [each - less for each, less in zip(one, other, strict=True)]

    draw = np.random.default_rng(seed)
    drawn = [differ([_drawn(draw, len(each)) for each in days]) for _ in range(resamples)]
    bounds = np.quantile(drawn, (0.025, 0.975), axis=0)
    values = differ([np.ones(len(each)) for each in days])
    made = [Difference(v, float(lo), float(hi)) for v, lo, hi in zip(values, *bounds, strict=True)]
    return Differences(*made)


def _drawn(draw: np.random.Generator, days: int) -> Counts:
    """How often each day is drawn, if as many are drawn as there are."""
    return np.bincount(draw.integers(days, size=days), minlength=days).astype(np.float64)


def _means(stretches: Sequence[tuple[Value, Value]], counts: Sequence[Counts]) -> list[float]:
    each = [[value(weights) for value in values] for values, weights in zip(stretches, counts, strict=True)]
    return [float(mean) for mean in np.mean(each, axis=0)]


def _average_precision(scores: Scores, judged: Judged, places: Places) -> Value:
    """As `models.measures.ranking` has it, ties and all, but sorted once for all that is drawn."""
    highest_first = places[np.argsort(-scores[places], kind="stable")]
    fraud, ordered = judged.fraud[highest_first], scores[highest_first]
    if not fraud.any():
        raise ValueError("where there is no fraud, there is no precision to compare")
    _, day = np.unique(judged.days[highest_first], return_inverse=True)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))

    def value(counts: Counts) -> float:
        weights = counts[day]
        found = np.cumsum(weights * fraud)[ends]
        seen = np.cumsum(weights)[ends]
        precision = np.divide(found, seen, out=np.zeros(len(ends)), where=seen > 0)
        return float((np.diff(found, prepend=0.0) * precision).sum() / max(found[-1], 1.0))

    return value


def _cards(scores: Scores, judged: Judged, places: Places, k: int) -> Value:
    """Precision at `k` cards a day; a card found on one day is known on the next, however days are drawn."""
    shares = np.array(
        found_a_day(scores[places], judged.fraud[places], judged.days[places], judged.cards[places], k)
    )
    return lambda counts: float(counts @ shares / counts.sum())
