"""A stream in which order alone tells: a fraud is the second of two equal amounts in a row on its card."""

from __future__ import annotations

import numpy as np

from models.lives import UNKNOWN, Rows
from models.periods import DAY_US

KINDS = 8


def stream(events=6_000, cards=100, seed=1, unknown=0.0):
    """Events of `cards` in order of arrival, two an hour; `unknown` of them without a label."""
    random = np.random.default_rng(seed)
    of = random.integers(0, cards, events).astype(np.int32)
    amounts = random.integers(0, KINDS, events).astype(np.float32)
    last: dict[int, float] = {}
    fraud = np.zeros(events, bool)
    for row, (card, amount) in enumerate(zip(of.tolist(), amounts.tolist(), strict=True)):
        fraud[row] = last.get(card) == amount
        last[card] = amount
    labels = np.where(random.random(events) < unknown, UNKNOWN, fraud).astype(np.int8)
    noise = random.normal(size=events).astype(np.float32)
    noise[random.random(events) < 0.1] = np.nan
    times = 20_000 * DAY_US + np.arange(events, dtype=np.int64) * 1_800_000_000
    return Rows(("amount", "noise"), np.stack([amounts, noise], 1), of, times, labels)
