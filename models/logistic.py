"""The logistic function, for all that adds up log-odds: equal log-odds are equal probabilities, to the bit."""

from __future__ import annotations

import math


def sigmoid(log_odds: float) -> float:
    """The probability of log-odds, without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    grown = math.exp(log_odds)
    return grown / (1.0 + grown)
