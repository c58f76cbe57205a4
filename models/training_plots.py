"""How a training went, drawn with matplotlib: losses, ranking by epoch, precision over recall, and calibration."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from models.evaluate import precision_over_recall
from models.measures import calibration, even_edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from models.training import Trained

EARLIER, LATER, BEST = "#7b8f98", "#0f4c5c", "#d9652b"

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": "#e7edef",
    "font.size": 9,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "svg.hashsalt": "weir",  # equal trainings give equal pictures
}


def drawn(trained: Trained) -> str:
    """All of it as one picture, SVG that stands by itself."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(11, 7.6), layout="constrained")
        losses, ranks, trade, trust = figure.subplots(2, 2).flat
        _losses(losses, trained)
        _ranks(ranks, trained)
        _trade(trade, trained)
        _trust(trust, trained)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _epochs(axes: Axes, trained: Trained) -> list[int]:
    axes.axvline(trained.best, color=BEST, linestyle=":", label=f"kept: epoch {trained.best}")
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    axes.set_xlabel("epoch")
    return [each.number for each in trained.curve]


def _losses(axes: Axes, trained: Trained) -> None:
    epochs = _epochs(axes, trained)
    axes.plot(epochs, [each.loss for each in trained.curve], "o-", color=EARLIER, label="learned from")
    axes.plot(epochs, [each.later_loss for each in trained.curve], "o-", color=LATER, label="later period")
    axes.set(title="Loss of an event (cross entropy)", ylim=(0, None))
    axes.legend()


def _ranks(axes: Axes, trained: Trained) -> None:
    epochs = _epochs(axes, trained)
    precision = [each.average_precision for each in trained.curve]
    axes.plot(epochs, precision, "o-", color=LATER, label="average precision")
    axes.plot(epochs, [each.auc_roc for each in trained.curve], "o-", color=EARLIER, label="AUC ROC")
    axes.set(title="Ranking of the later period", ylim=(0, 1.02))
    axes.legend(loc="lower right")


def _trade(axes: Axes, trained: Trained) -> None:
    judged = trained.judged
    axes.plot(*precision_over_recall(judged.scores, judged.fraud), color=LATER)
    axes.axhline(judged.fraud.mean(), color=EARLIER, linestyle=":", label="by chance")
    axes.set(title="Precision over recall, later period", xlim=(0, 1), ylim=(0, 1.02))
    axes.set(xlabel="share of the frauds that are found", ylabel="share of frauds among alerts")
    axes.legend()


def _trust(axes: Axes, trained: Trained) -> None:
    """A tenth of the events at each point, the riskiest once more in tenths: most events lie close to nothing."""
    judged = trained.judged
    edges = even_edges(judged.scores)
    risky = judged.scores[judged.scores >= edges[-1]]
    edges = np.unique(np.concatenate([edges, even_edges(risky)]))
    points = [part[1:] for part in calibration(judged.scores, judged.fraud, edges) if part[2] > 0.0]
    least = min([0.01, *(min(point) for point in points)]) / 2
    axes.plot([least, 1], [least, 1], color=EARLIER, linestyle=":", label="as it should be")
    axes.plot(*zip(*points, strict=True), "o", color=LATER)
    axes.set(title="Calibration, later period", xscale="log", yscale="log")
    axes.set(xlim=(least, 1.2), ylim=(least, 1.2), xlabel="mean probability", ylabel="share of frauds")
    axes.legend()
