"""The learner: labels meet the features logged at decision time, and snapshots of what was learned are numbered.

Live it sits in the `learn` role, in a replay beside the pipeline; it is the same object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from models.base import Scorer, Weighed
from models.snapshot import Snapshot
from stream.decide import AlertBudget

Vector = Sequence[float]


class Learner:
    """Learns from labelled vectors and says when a new snapshot is worth publishing."""

    def __init__(
        self,
        scorer: Scorer,
        budget: AlertBudget,
        *,
        features_version: str,
        hashes: Mapping[str, str] | None = None,
        number: int = 0,
        learned: int = 0,
        every: int = 2000,
    ) -> None:
        """Go on from snapshot `number`, made after `learned` labels; the next is due `every` labels later.

        `hashes` say what each feature measures: they go with the snapshots, for readers of other feature sets.

        Young models change fast, so the first snapshots come after `every` / 8 labels.
        """
        self.scorer = scorer
        self.budget = budget
        self.features_version = features_version
        self.hashes = hashes
        self.number = number
        self.learned = learned
        self._every = every
        self._published = learned

    def resume(self, scorer: Scorer, learned: int) -> None:
        """Go on with a scorer that a snapshot held, after so many labels."""
        self.scorer = scorer
        self.learned = self._published = learned

    def observe(self, arrived_us: int, vector: Vector) -> None:
        """An event was decided on these features: it counts for the alert budget."""
        self.budget.observe(arrived_us, vector)

    def learn(self, labelled: Iterable[tuple[Vector, bool]]) -> None:
        """Learn from labels that have arrived, in this order."""
        for vector, fraud in labelled:
            self.scorer.learn_one(vector, fraud)
            self.learned += 1

    def weights(self) -> dict[str, float]:
        """By part of an ensemble: what it counts for; of another scorer nothing."""
        return self.scorer.weights() if isinstance(self.scorer, Weighed) else {}

    @property
    def due(self) -> bool:
        """Whether enough was learned for a new snapshot."""
        young = self.learned <= 4 * self._every
        return self.learned - self._published >= (self._every // 8 if young else self._every)

    @property
    def ahead(self) -> bool:
        """Whether anything was learned since the last snapshot."""
        return self.learned > self._published

    def snapshot(self, positions: Mapping[str, int]) -> Snapshot:
        """The next numbered snapshot, from which a learner at these log positions resumes."""
        self.number += 1
        self._published = self.learned
        return Snapshot.of(
            self.scorer,
            number=self.number,
            features_version=self.features_version,
            threshold=self.budget.threshold(self.scorer.score_many),
            learned=self.learned,
            positions=dict(positions),
            made_at=datetime.now(UTC).isoformat(),
            hashes=self.hashes,
        )
