"""What a store that works in three steps (features.store.Batch) does in one: prepare a batch, apply it, understand it."""

from __future__ import annotations

from collections.abc import Sequence

from features.events import Event
from features.store import Applied, Batch, Run, Source


class ByBatch:
    """The part of features.store.FeatureStore that follows from `batch`."""

    def batch(self, runs: Sequence[Run]) -> Batch:
        """Runs that are prepared, and not applied yet."""
        raise NotImplementedError

    def apply(self, batch: Sequence[Event], source: Source | None = None) -> list[Applied]:
        """Apply events and labels in this order, and answer each."""
        return self.apply_many([Run(batch, source)])

    def apply_many(self, runs: Sequence[Run]) -> list[Applied]:
        """Apply runs of events and labels in this order, and answer each event."""
        batch = self.batch(runs)
        batch.apply()
        return batch.answers()
