"""How good scores are: exact ranking measures, precision among the cards of a day, calibration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]

CHUNK = 8192
"""Events looked at at once, so that what is computed on the way stays small beside the scores."""

SAMPLE = 1 << 16
"""So many scores tell where a tenth of them ends."""

TENTHS: Scores = np.arange(1, 10) / 10


def ranking(scores: Scores, fraud: Mask) -> tuple[float, float]:
    """The exact AUC ROC and average precision, ties as in scikit-learn; NaN where one class is missing.

    Sorts the frauds alone and counts the others between them, chunk after chunk: the scores are never copied.

    >>> ranking(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    (0.75, 0.8333333333333333)
    """
    steps, hits = np.unique(scores[fraud], return_counts=True)
    frauds = int(hits.sum())
    others = len(scores) - frauds
    if not frauds or not others:
        return math.nan, 1.0 if frauds else math.nan
    below, upto = _others_at(steps, scores, fraud)
    found = hits[::-1].cumsum()[::-1]
    precision = float((hits * (found / (found + others - below))).sum())
    return int((hits * (below + upto)).sum()) / (2 * frauds * others), precision / frauds


def _others_at(steps: Scores, scores: Scores, fraud: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many events that are no frauds score below each step, and how many up to it."""
    below, upto = np.zeros((2, len(steps) + 1), dtype=np.int64)
    for start in range(0, len(scores), CHUNK):
        part = scores[start : start + CHUNK][~fraud[start : start + CHUNK]]
        below += np.bincount(np.searchsorted(steps, part, "right"), minlength=len(below))
        upto += np.bincount(np.searchsorted(steps, part, "left"), minlength=len(upto))
    return below.cumsum()[:-1], upto.cumsum()[:-1]


def found_a_day(
    scores: Scores, fraud: Mask, days: NDArray[np.uint16], cards: NDArray[np.uint32], k: int
) -> list[float]:
    """Each day's share of compromised cards among the `k` that score highest, less those found before.

    A card's score is the highest of its events that day, and it is compromised if one of them is a fraud.
    It is a share of `k` even on a day with fewer cards, as in the Fraud Detection Handbook.
    """
    known = np.zeros(int(cards.max()) + 1 if len(cards) else 0, dtype=np.bool_)
    shares = []
    for day in np.unique(days):
        today = np.flatnonzero(days == day)
        today = today[~known[cards[today]]]
        found = _found(scores[today], fraud[today], cards[today], k)
        known[found] = True
        shares.append(len(found) / k)
    return shares


def _found(scores: Scores, fraud: Mask, cards: NDArray[np.uint32], k: int) -> NDArray[np.uint32]:
    """The compromised among the `k` cards that score highest; of equal scores the older card comes first."""
    best_first = np.lexsort((cards, -scores))
    ranked, first = np.unique(cards[best_first], return_index=True)
    top = ranked[np.argsort(first)[:k]]
    return top[np.isin(top, cards[fraud])]


def calibration(scores: Scores, fraud: Mask, edges: Scores = TENTHS) -> list[tuple[int, float, float]]:
    """Events, mean score and share of fraud in each interval that the inner `edges` cut 0..1 into."""
    events, total, frauds = np.zeros((3, len(edges) + 1))
    for start in range(0, len(scores), CHUNK):
        part, truth = scores[start : start + CHUNK], fraud[start : start + CHUNK]
        places = np.searchsorted(edges, part, "right")
        events += np.bincount(places, minlength=len(events))
        total += np.bincount(places, weights=part, minlength=len(events))
        frauds += np.bincount(places, weights=truth, minlength=len(events))
    return [(int(n), float(t / n), float(f / n)) for n, t, f in zip(events, total, frauds, strict=True) if n]


def even_edges(scores: Scores) -> Scores:
    """Inner edges between which about a tenth of the scores lie each, from an even sample of them."""
    sample = scores[:: -(-len(scores) // SAMPLE)] if len(scores) else np.zeros(1)
    return np.unique(np.quantile(sample, TENTHS))


def calibration_error(scores: Scores, fraud: Mask, edges: Scores = TENTHS) -> float:
    """The expected calibration error: how far scores are from the share of fraud, averaged over events."""
    parts = calibration(scores, fraud, edges)
    events = sum(n for n, _, _ in parts)
    return sum(n * abs(score - share) for n, score, share in parts) / events if events else math.nan
