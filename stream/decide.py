"""From a score to an outcome: the policy, and the threshold that an alert budget affords."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

Vector = Sequence[float]

DAY_US = 86_400_000_000
NEVER = math.inf
"""The threshold that no score reaches: before there is a model, nobody is alerted."""


class Outcome(StrEnum):
    """What happens to an event, from the mildest on."""

    APPROVE = "approve"
    REVIEW = "review"
    DECLINE = "decline"


APPROVE, REVIEW, DECLINE = Outcome
"""By themselves: looking a member up in its class costs as much as comparing a score."""


def decide(score: float, threshold: float) -> Outcome:
    """The outcome of a score: at the threshold or above it a person looks.

    >>> decide(0.7, 0.5), decide(0.2, 0.5)
    (<Outcome.REVIEW: 'review'>, <Outcome.APPROVE: 'approve'>)
    """
    return REVIEW if score >= threshold else APPROVE


class AlertBudget:
    """The threshold that would have given so many alerts a day over the last days' events.

    It keeps an even sample of recent feature vectors and rescores it with each new model, since a threshold means
    something only for the model it was chosen for. The clock is the events' arrival.
    """

    def __init__(self, alerts_per_day: float, *, sample: int = 6000, days: int = 3) -> None:
        """Keep about `sample` vectors of the last `days` days."""
        self.alerts_per_day = alerts_per_day
        self._sample = sample
        self._days = days
        self._vectors: deque[tuple[int, array[float]]] = deque()  # (arrived_us, vector), in order of arrival
        self._stride = 1  # one event in so many is kept
        self._seen = 0
        self._newest = 0

    def observe(self, arrived_us: int, vector: Vector) -> None:
        """Take notice of one event."""
        self._seen += 1
        if self._seen % self._stride:
            return
        self._newest = max(self._newest, arrived_us)
        self._vectors.append((arrived_us, array("d", vector)))
        while self._vectors and self._vectors[0][0] <= self._newest - self._days * DAY_US:
            self._vectors.popleft()
        if len(self._vectors) > 2 * self._sample:
            self._thin()

    def _thin(self) -> None:
        self._vectors = deque(list(self._vectors)[1::2])
        self._stride *= 2

    def threshold(self, score_many: Callable[[Sequence[Vector]], list[float]]) -> float:
        """The lowest score that keeps to the budget; NEVER while nothing was seen."""
        if not self._vectors:
            return NEVER
        scores = sorted(score_many([vector for _, vector in self._vectors]), reverse=True)
        affordable = self.alerts_per_day * self._span_days() / self._stride
        if affordable >= len(scores):
            return scores[-1]
        highest_refused = scores[int(affordable)]
        return math.nextafter(highest_refused, math.inf)

    def _span_days(self) -> float:
        """Days that the sample covers; a stream younger than an hour counts as an hour, lest its first minute set the day."""
        return max(self._newest - self._vectors[0][0], DAY_US // 24) / DAY_US
