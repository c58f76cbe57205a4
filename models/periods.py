"""The two periods of a training: the earlier one is learned from, the later one judged, and what was found there."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.lives import FRAUD, LEGITIMATE, UNKNOWN, Mask, Rows
from models.measures import calibration_error, even_edges, found_a_day, ranking

DAY_US = 86_400_000_000


class TrainingError(Exception):
    """Rows that nothing can be learned from; the text says why, and what to do."""


class Period(msgspec.Struct, frozen=True):
    """A stretch of the stream."""

    from_us: int  # the arrival of the first event
    until_us: int  # behind that of the last one
    events: int
    labels: int
    frauds: int


class Measures(msgspec.Struct, frozen=True):
    """How well the later period was scored."""

    auc_roc: float
    average_precision: float
    card_precision: float  # share of compromised cards among the 100 that score highest a day, mean over days
    calibration_error: float  # expected, over tenths of 0..1
    calibration_error_even: float  # over tenths of the events


class Judged(NamedTuple):
    """The labelled events of the later period, in the order of arrival."""

    scores: NDArray[np.float64]  # calibrated
    fraud: Mask
    days: NDArray[np.uint16]
    cards: NDArray[np.uint32]


def split_of(rows: Rows, share: float) -> int:
    """The row with which the later period begins: it holds this `share` of the labels at least, and of the frauds, the latest.

    It begins with a day, UTC, where that leaves half of the rest or more: what is measured by the day is of whole days then.
    """
    labelled = np.flatnonzero(rows.labels != UNKNOWN)
    if len(labelled) < 2:
        raise TrainingError(f"only {len(labelled)} labels had arrived: nothing can be learned from them")
    frauds = np.flatnonzero(rows.labels == FRAUD)
    first = min([_first_of_share(found, share) for found in (labelled, frauds) if len(found)])
    at_us = int(rows.times[first])
    day = int(np.searchsorted(rows.times, at_us // DAY_US * DAY_US))
    before_day, before = np.searchsorted(labelled, [day, first])
    return day if before_day * 2 >= before else int(np.searchsorted(rows.times, at_us))


def _first_of_share(found: NDArray[np.intp], share: float) -> int:
    """The first of the latest of these rows that make up that share."""
    return int(found[min(max(1, round((1.0 - share) * len(found))), len(found) - 1)])


def measured(judged: Judged) -> Measures:
    """How well events were scored."""
    scores, fraud = judged.scores, judged.fraud
    auc_roc, precision = ranking(scores, fraud)
    daily = found_a_day(scores, fraud, judged.days, judged.cards, 100)
    return Measures(
        auc_roc=auc_roc,
        average_precision=precision,
        card_precision=float(np.mean(daily)),
        calibration_error=calibration_error(scores, fraud),
        calibration_error_even=calibration_error(scores, fraud, even_edges(scores)),
    )


def refuse_one_class(rows: Rows, split: int) -> None:
    """Raise TrainingError where one of the two periods has no fraud or nothing legitimate."""
    for labels, name in ((rows.labels[:split], "earlier"), (rows.labels[split:], "later")):
        for said, missing in ((FRAUD, "fraud"), (LEGITIMATE, "legitimate event")):
            if not np.any(labels == said):
                raise TrainingError(
                    f"no {missing} is known in the {name} of the two periods, of {len(labels):,} events: take a longer "
                    "history, or wait until more labels have arrived"
                )


def period_of(rows: Rows, start: int, stop: int) -> Period:
    """The stretch from row `start` to before row `stop`."""
    labels = rows.labels[start:stop]
    return Period(
        int(rows.times[start]),
        int(rows.times[stop - 1]) + 1,
        stop - start,
        int(np.count_nonzero(labels != UNKNOWN)),
        int(np.count_nonzero(labels == FRAUD)),
    )
