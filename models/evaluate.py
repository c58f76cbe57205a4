"""Judging a stream: every event scored before its label was learned, and what the scores were worth."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.measures import Mask, Scores, calibration, calibration_error, even_edges, found_a_day, ranking

FRAUD = 1
ALERTED = 2

EPOCH = date(1970, 1, 1)
HANDBOOK_FIRST_DAYS = tuple(
    (date(2018, month, day) - EPOCH).days for month, day in ((7, 11), (7, 4), (6, 27), (6, 20))
)
"""Where the training weeks of the Fraud Detection Handbook's validation folds begin, as days since 1970."""

WEEK = 7


class Measured(msgspec.Struct, frozen=True):
    """The three measures of the Fraud Detection Handbook."""

    auc_roc: float
    average_precision: float
    card_precision: float  # at 100 cards a day


PUBLISHED = {
    "decision tree": Measured(0.823, 0.573, 0.268),
    "logistic regression": Measured(0.867, 0.613, 0.279),
    "random forest": Measured(0.880, 0.694, 0.289),
    "XGBoost": Measured(0.887, 0.708, 0.289),
    "neural network": Measured(0.881, 0.701, 0.288),
    "CNN": Measured(0.879, 0.613, 0.279),
    "LSTM": Measured(0.881, 0.681, 0.286),
    "LSTM with attention": Measured(0.886, 0.690, 0.287),
}
"""The book's means over the four validation folds (chapters 5 to 7), each model trained on seven days."""


class Fold(msgspec.Struct, frozen=True):
    """One test week of the handbook's protocol."""

    first_day: int  # of the training week, days since 1970
    events: int
    frauds: int
    measured: Measured


class Report(msgspec.Struct, frozen=True):
    """What scores were worth over a whole stream; NaN where there was nothing to measure."""

    events: int
    frauds: int
    fraud_rate: float
    auc_roc: float
    average_precision: float
    k: int
    card_precision: float  # share of compromised cards among the k highest a day, mean over days
    alerts: int
    alert_rate: float
    alert_precision: float
    alert_recall: float
    calibration_error: float  # expected, over tenths of 0..1
    calibration_error_even: float  # over tenths of the events: most lie in the first tenth of 0..1


class Prequential:
    """Collects judged events in fifteen bytes each, and each card's name once.

    >>> judged = Prequential()
    >>> judged.add(0.9, True, 17500, "a", alerted=True)
    >>> judged.add(0.2, False, 17500, "b")
    >>> judged.report(k=1).card_precision
    1.0
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._scores = array("d")
        self._cards = array("I")
        self._days = array("H")
        self._flags = array("B")
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._scores)

    def add(self, score: float, fraud: bool, day: int, card: str, alerted: bool = False) -> None:
        """Judge one event: `day` counts from 1970, `card` is whose precision at k a day is reported."""
        self._days.append(day)
        self._scores.append(score)
        self._cards.append(self._numbers.setdefault(card, len(self._numbers)))
        self._flags.append(FRAUD * fraud | ALERTED * alerted)

    @property
    def scores(self) -> Scores:
        """The scores in the order in which they were added, as a view."""
        return np.frombuffer(self._scores, dtype=np.float64)

    @property
    def days(self) -> NDArray[np.uint16]:
        """The events' days, as a view."""
        return np.frombuffer(self._days, dtype=np.uint16)

    @property
    def cards(self) -> NDArray[np.uint32]:
        """The events' cards, numbered as they came, as a view."""
        return np.frombuffer(self._cards, dtype=np.uint32)

    @property
    def fraud(self) -> Mask:
        """Which events are frauds."""
        return (np.frombuffer(self._flags, dtype=np.uint8) & FRAUD).view(np.bool_)

    def report(self, k: int = 100) -> Report:
        """What the scores were worth, over all events."""
        scores, fraud = self.scores, self.fraud
        frauds, events = int(np.count_nonzero(fraud)), len(self)
        auc_roc, average_precision = ranking(scores, fraud)
        alerts = sum(self._flags.count(flags) for flags in (ALERTED, ALERTED | FRAUD))
        hits = self._flags.count(ALERTED | FRAUD)
        return Report(
            events=events,
            frauds=frauds,
            fraud_rate=_share(frauds, events),
            auc_roc=auc_roc,
            average_precision=average_precision,
            k=k,
            card_precision=_mean(found_a_day(scores, fraud, self.days, self.cards, k)),
            alerts=alerts,
            alert_rate=_share(alerts, events),
            alert_precision=_share(hits, alerts),
            alert_recall=_share(hits, frauds),
            calibration_error=calibration_error(scores, fraud),
            calibration_error_even=calibration_error(scores, fraud, even_edges(scores)),
        )


def handbook_folds(judged: Prequential, first_days: Sequence[int] = HANDBOOK_FIRST_DAYS) -> list[Fold]:
    """The handbook's protocol: a week of training, a week of delay, and a week of test that is measured.

    Cards known to be compromised are removed: those with a fraud in the training week and, cumulatively, in
    the days up to eight before each test day. A fold without test events is left out.
    """
    weeks = handbook_weeks(judged, first_days)
    return [
        Fold(first, len(kept), int(judged.fraud[kept].sum()), _measured(judged, kept))
        for first, kept in weeks.items()
    ]


def handbook_weeks(
    judged: Prequential, first_days: Sequence[int] = HANDBOOK_FIRST_DAYS
) -> dict[int, NDArray[np.intp]]:
    """By a fold's first day: the places of the events that it measures."""
    weeks = {first: _test_week(judged, first) for first in first_days}
    return {first: kept for first, kept in weeks.items() if len(kept)}


def mean_of(folds: Sequence[Fold]) -> Measured:
    """The mean of each measure over the folds."""
    measured = [fold.measured for fold in folds]
    return Measured(
        _mean([each.auc_roc for each in measured]),
        _mean([each.average_precision for each in measured]),
        _mean([each.card_precision for each in measured]),
    )


def _test_week(judged: Prequential, first: int) -> NDArray[np.intp]:
    """The places of the events of a fold's test week, without the cards known to be compromised."""
    days, cards, fraud = judged.days, judged.cards, judged.fraud
    known = cards[fraud & (days >= first) & (days < first + WEEK)]
    kept = []
    for day in range(first + 2 * WEEK, first + 3 * WEEK):
        known = np.concatenate([known, cards[fraud & (days == day - WEEK - 1)]])
        today = np.flatnonzero(days == day)
        kept.append(today[~np.isin(cards[today], known)])
    return np.concatenate(kept)


def _measured(judged: Prequential, kept: NDArray[np.intp]) -> Measured:
    scores, fraud = judged.scores[kept], judged.fraud[kept]
    shares = found_a_day(scores, fraud, judged.days[kept], judged.cards[kept], k=100)
    return Measured(*ranking(scores, fraud), _mean(shares))


def plots(judged: Prequential, path: Path, k: int = 100) -> None:
    """Draw precision over recall, the cards found each day and calibration into an image, with matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    trade, daily, trust = figure.subplots(1, 3)
    scores, fraud = judged.scores, judged.fraud
    trade.plot(*precision_over_recall(scores, fraud))
    trade.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    shares = found_a_day(scores, fraud, judged.days, judged.cards, k)
    daily.plot(np.unique(judged.days).astype("datetime64[D]"), shares)
    daily.set(xlabel="day", ylabel=f"compromised among {k} cards", ylim=(0, None))
    daily.tick_params("x", rotation=30)
    trust.plot([0, 1], [0, 1], linestyle=":", color="grey")
    trust.plot(*zip(*[tenth[1:] for tenth in calibration(scores, fraud)], strict=True), marker="o")
    trust.set(xlabel="mean score", ylabel="share of fraud", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path)


def precision_over_recall(scores: Scores, fraud: Mask) -> tuple[Scores, Scores]:
    """Recall and precision at up to 2,000 thresholds, the highest first."""
    found = np.cumsum(fraud[np.argsort(-scores, kind="stable")])
    points = np.unique(np.linspace(0, len(found) - 1, 2000).astype(int))
    return found[points] / max(int(found[-1]), 1), found[points] / (points + 1)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan
