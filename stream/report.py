"""What a replay found, for people and for programs."""

from __future__ import annotations

import math
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from models.evaluate import PUBLISHED, Fold, Measured, Report, handbook_folds, mean_of, plots
from stream.history import History

HANDBOOK = "handbook"
"""The profile whose published protocol the report repeats."""


def as_json(run: History, k: int = 100) -> bytes:
    """The whole report as JSON; what could not be measured is null."""
    folds = _folds(run)
    return msgspec.json.encode(
        {
            "profile": run.profile.name,
            "features_version": run.profile.features_version,
            "events": run.replay.decided,
            "labels": run.replay.labels,
            "alerts": run.replay.alerts,
            "refused": run.replay.refused,
            "refusals": run.replay.refusals,
            "seconds": round(run.seconds, 3),
            "events_per_second": round(run.rate, 1),
            "peak_memory_bytes": run.peak_memory(),
            "report": _plain(run.prequential.report(k)),
            "folds": [_plain(fold) for fold in folds],
            "folds_mean": _plain(mean_of(folds)) if folds else None,
        }
    )


def as_text(run: History, k: int = 100) -> str:
    """The report as tables."""
    report = run.prequential.report(k)
    folds = _folds(run)
    parts = [_summary(run, report)]
    if folds:
        parts.append(_fold_table(folds))
    if run.replay.refused:
        parts.append(_refusals(run))
    return "\n".join(parts)


def plot(run: History, path: Path) -> None:
    """Draw precision over recall and calibration to a png."""
    plots(run.prequential, path)


def _folds(run: History) -> list[Fold]:
    return handbook_folds(run.prequential) if run.profile.name == HANDBOOK else []


def _summary(run: History, report: Report) -> str:
    table = Table(
        title=f"Replay of {run.replay.decided:,} events, profile {run.profile.name}", show_header=False
    )
    rows = (
        ("speed", f"{run.rate:,.0f} events/s ({run.seconds:,.1f} s)"),
        ("peak memory", f"{run.peak_memory() / 2**20:,.0f} MiB"),
        (
            "labels that arrived",
            f"{report.events:,}, {report.frauds:,} of them fraud ({report.fraud_rate:.3%})",
        ),
        ("AUC ROC", _number(report.auc_roc)),
        ("average precision", _number(report.average_precision)),
        (f"precision at {report.k} {run.profile.card or 'event'}s a day", _number(report.card_precision)),
        ("alerts", f"{report.alerts:,} ({report.alert_rate:.3%} of events)"),
        ("alert precision", f"{_number(report.alert_precision)}{_lift(report)}"),
        ("alert recall", _number(report.alert_recall)),
        ("calibration error (ECE)", _number(report.calibration_error, 4)),
    )
    for row in rows:
        table.add_row(*row)
    return _drawn(table)


def _lift(report: Report) -> str:
    if not report.fraud_rate or math.isnan(report.alert_precision):
        return ""
    return f" ({report.alert_precision / report.fraud_rate:.1f} x the fraud rate)"


def _fold_table(folds: list[Fold]) -> str:
    table = Table(title="Fraud Detection Handbook, validation folds (known compromised cards removed)")
    for column in ("", "AUC ROC", "average precision", "CP@100"):
        table.add_column(column, justify="left" if not column else "right")
    for number, fold in enumerate(folds, 1):
        table.add_row(
            f"fold {number}: {fold.events:,} events, {fold.frauds} frauds", *_measures(fold.measured)
        )
    table.add_row("[bold]Weir, mean of folds[/bold]", *_measures(mean_of(folds)), end_section=True)
    for name, measured in PUBLISHED.items():
        table.add_row(f"published: {name}", *_measures(measured))
    return _drawn(table)


def _refusals(run: History) -> str:
    table = Table(title=f"{run.replay.refused:,} rows were refused")
    table.add_column("rows", justify="right")
    table.add_column("reason")
    for reason, count in sorted(run.replay.refusals.items(), key=lambda pair: -pair[1]):
        table.add_row(f"{count:,}", reason)
    return _drawn(table)


def _measures(measured: Measured) -> tuple[str, str, str]:
    return (_number(measured.auc_roc), _number(measured.average_precision), _number(measured.card_precision))


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _drawn(table: Table) -> str:
    text = StringIO()
    Console(file=text, width=110).print(table)
    return text.getvalue()
