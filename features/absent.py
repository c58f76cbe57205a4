"""A store that is not there: takes everything, keeps nothing, and knows nothing of anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from features.catalogue import FeatureSet
from features.events import Event, Transaction
from features.store import Applied, AtOnce, Batch, Run, Source, Status

FRESH, UNKNOWN = Applied(Status.FRESH, 0, ()), Applied(Status.LABEL_LATE, 0, ())


class Absent:
    """Answers while a store is being filled (features.store.FeatureStore); its features are `of`, of which it knows none."""

    def __init__(self, positions: Callable[[], dict[tuple[str, int], int]]) -> None:
        """`positions` tell what is to be taken for applied."""
        self.positions = positions

    @staticmethod
    def of(features: FeatureSet) -> FeatureSet:
        """The set without any feature."""
        return FeatureSet((), features.entities, features.timezone)

    def apply(self, batch: Sequence[Event], source: Source | None = None) -> list[Applied]:
        """Keep nothing."""
        return [FRESH if isinstance(event, Transaction) else UNKNOWN for event in batch]

    def apply_many(self, runs: Sequence[Run]) -> list[Applied]:
        """Keep nothing."""
        return [answer for run in runs for answer in self.apply(*run)]

    def batch(self, runs: Sequence[Run]) -> Batch:
        """Nothing is to be prepared."""
        return AtOnce(lambda: self.apply_many(runs))

    def forget(self, entity: str, value: str) -> bool:
        """Nothing is known."""
        return False

    def close(self) -> None:
        """Nothing to give back."""
