"""The report of a stream, and the handbook's protocol against an independent copy of it."""

from __future__ import annotations

import math
import tracemalloc
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.evaluate import HANDBOOK_FIRST_DAYS, PUBLISHED, Prequential, handbook_folds, mean_of, plots

FIRST = 17_000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Five weeks of 30 events a day by 80 cards, one event in eight a fraud."""
    draw = np.random.default_rng(3)
    days = np.repeat(np.arange(FIRST, FIRST + 35), 30)
    fraud = draw.random(len(days)) < 0.125
    return pd.DataFrame(
        {
            "day": days,
            "card": draw.integers(0, 80, len(days)),
            "fraud": fraud,
            "score": np.clip(draw.normal(0.3 + 0.2 * fraud, 0.15), 0, 1),
        }
    ).drop_duplicates("score")


def collected(frame: pd.DataFrame) -> Prequential:
    judged = Prequential()
    for row in frame.itertuples():
        judged.add(row.score, bool(row.fraud), row.day, f"card {row.card}", alerted=row.score > 0.6)
    return judged


def card_precision(week: pd.DataFrame, k: int) -> float:
    """As in the handbook, chapter 4."""
    detected: list[int] = []
    shares = []
    for _, today in week.groupby("day"):
        left = today[~today.card.isin(detected)].groupby("card")[["score", "fraud"]].max()
        top = left.sort_values("score", ascending=False).head(k)
        hits = list(top[top.fraud].index)
        shares.append(len(hits) / k)
        detected += hits
    return float(np.mean(shares))


def week_tested(frame: pd.DataFrame, first: int) -> pd.DataFrame:
    """As in the handbook, chapter 5: train, delay, and test without the cards known by then."""
    train = frame[(frame.day >= first) & (frame.day < first + 7)]
    known = set(train[train.fraud].card)
    days = []
    for number in range(7):
        known |= set(frame[(frame.day == first + 7 + number - 1) & frame.fraud].card)
        today = frame[frame.day == first + 14 + number]
        days.append(today[~today.card.isin(known)])
    return pd.concat(days)


@pytest.mark.parametrize("order", ["by day", "shuffled"])
def test_the_folds_equal_an_independent_copy_of_the_protocol(frame: pd.DataFrame, order: str) -> None:
    firsts = (FIRST, FIRST + 7, FIRST + 14)
    given = frame if order == "by day" else frame.sample(frac=1, random_state=1)
    folds = handbook_folds(collected(given), firsts)
    for fold, first in zip(folds, firsts, strict=True):
        week = week_tested(frame, first)
        assert (fold.first_day, fold.events, fold.frauds) == (first, len(week), week.fraud.sum())
        assert fold.measured.auc_roc == pytest.approx(roc_auc_score(week.fraud, week.score), abs=1e-12)
        expected = average_precision_score(week.fraud, week.score)
        assert fold.measured.average_precision == pytest.approx(expected, abs=1e-12)
        assert fold.measured.card_precision == pytest.approx(card_precision(week, 100), abs=1e-12)


def test_the_mean_is_over_the_folds_that_have_a_test_week(frame: pd.DataFrame) -> None:
    judged = collected(frame)
    folds = handbook_folds(judged, (FIRST, FIRST + 7, FIRST + 70))
    assert len(folds) == 2
    expected = (folds[0].measured.auc_roc + folds[1].measured.auc_roc) / 2
    assert mean_of(folds).auc_roc == pytest.approx(expected)
    assert math.isnan(mean_of(handbook_folds(judged, ())).auc_roc)


def test_the_folds_begin_where_the_book_begins_them() -> None:
    epoch = date(1970, 1, 1).toordinal()
    dates = [date.fromordinal(epoch + day).isoformat() for day in HANDBOOK_FIRST_DAYS]
    assert dates == ["2018-07-11", "2018-07-04", "2018-06-27", "2018-06-20"]
    assert (
        max(each.average_precision for each in PUBLISHED.values()) == PUBLISHED["XGBoost"].average_precision
    )


def test_the_report_counts_every_event_once(frame: pd.DataFrame) -> None:
    report = collected(frame).report(k=10)
    alerted = frame[frame.score > 0.6]
    assert (report.events, report.frauds, report.alerts) == (len(frame), frame.fraud.sum(), len(alerted))
    assert report.fraud_rate == pytest.approx(frame.fraud.mean())
    assert report.alert_rate == pytest.approx(len(alerted) / len(frame))
    assert report.alert_precision == pytest.approx(alerted.fraud.mean())
    assert report.alert_recall == pytest.approx(alerted.fraud.sum() / frame.fraud.sum())
    assert report.auc_roc == pytest.approx(roc_auc_score(frame.fraud, frame.score), abs=1e-12)
    assert report.card_precision == pytest.approx(card_precision(frame, 10), abs=1e-12)


def test_a_report_of_nothing_says_that_it_measured_nothing() -> None:
    report = Prequential().report()
    assert (report.events, report.alerts) == (0, 0)
    assert math.isnan(report.auc_roc)
    assert math.isnan(report.card_precision)
    assert math.isnan(report.calibration_error)
    assert math.isnan(report.calibration_error_even)


def test_events_can_be_added_after_a_report(frame: pd.DataFrame) -> None:
    judged = collected(frame)
    before = judged.report()
    judged.add(0.5, True, FIRST, "another card")
    assert judged.report().events == before.events + 1


def test_a_report_needs_less_than_24_bytes_an_event() -> None:
    events = 200_000
    tracemalloc.start()
    judged = Prequential()
    for number in range(events):
        judged.add((number * 7919 % 10_007) / 10_007, number % 50 == 0, number // 1000, str(number % 100))
    judged.report()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * events


def test_the_plots_are_written(frame: pd.DataFrame, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plots(collected(frame), tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
