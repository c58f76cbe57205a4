"""From logits to probabilities that mean what they say, fitted on events that were not trained on.

Platt, Probabilistic Outputs for Support Vector Machines, 1999: a logistic curve over the logit, fitted to slightly softened
targets, so that a period in which all frauds lie apart leaves no curve without end. Every event weighs the same: the curve is to
hold for the stream as it comes, frauds as rare as they are in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS = 50
"""Newton's method needs a handful."""

ENOUGH = 1e-9
"""A step below this changes no probability that anyone could see."""


def platt(logits: Floats, fraud: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of the curve 1 / (1 + exp(-(slope * logit + offset))); raises ValueError where one class is missing.

    >>> slope, offset = platt(np.array([-2.0, -1.0, 1.0, 2.0] * 50), np.array([False, True, False, True] * 50))
    >>> slope > 0.0, abs(offset) < 1e-6
    (True, True)
    """
    frauds = int(np.count_nonzero(fraud))
    if not 0 < frauds < len(fraud):
        raise ValueError("calibration needs frauds and legitimate events")
    target = np.where(fraud, (frauds + 1) / (frauds + 2), 1 / (len(fraud) - frauds + 2))
    middle, spread = float(logits.mean()), float(logits.std()) or 1.0
    scaled = (logits - middle) / spread
    curve = np.array([1.0, float(np.log(frauds / (len(fraud) - frauds)))])
    for _ in range(STEPS):
        curve, moved = _step(scaled, target, curve)
        if moved < ENOUGH:
            break
    slope = float(curve[0]) / spread
    return slope, float(curve[1]) - slope * middle


def _step(scaled: Floats, target: Floats, curve: Floats) -> tuple[Floats, float]:
    """Newton's next curve, halved on its way until it is no worse, and how far it moved."""
    share = 1.0 / (1.0 + np.exp(-(curve[0] * scaled + curve[1])))
    error, weight = share - target, share * (1.0 - share)
    slope = np.array([float(error @ scaled), float(error.sum())])
    cross = float(weight @ scaled)
    bend = np.array([[float(weight @ scaled**2), cross], [cross, float(weight.sum())]])
    step = np.linalg.solve(bend + 1e-12 * np.eye(2), slope)
    before = _loss(scaled, target, curve)
    while _loss(scaled, target, curve - step) > before and np.abs(step).max() > ENOUGH:
        step = step / 2
    return curve - step, float(np.abs(step).max())


def _loss(scaled: Floats, target: Floats, curve: Floats) -> float:
    raised = curve[0] * scaled + curve[1]
    return float((np.logaddexp(0.0, raised) - target * raised).sum())
