"""A store that is not there: takes everything, keeps nothing, and knows nothing of anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from features.carried import Kept
from features.catalogue import FeatureSet
from features.events import Event, Transaction
from features.store import Applied, AtOnce, Batch, Run, Source, Status, StoreUnavailable

FRESH, UNKNOWN = Applied(Status.FRESH, 0, ()), Applied(Status.LABEL_LATE, 0, ())


class Absent:
    """Answers while a store is being filled (features.store.FeatureStore); its features are `of`, of which it knows none."""

    def __init__(self, positions: Callable[[], dict[tuple[str, int], int]]) -> None:
        """`positions` tell what is to be taken for applied."""
        self.positions = positions
        self.refused = 0

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

    def carry(self, entity: str, network: str | None) -> None:
        """Nothing is told."""

    def written(self, network: str) -> dict[tuple[str, int], int]:
        """It has seen nothing."""
        return {}

    def keep(self, kept: Sequence[Kept], through: Sequence[Source] = ()) -> None:
        """Keep nothing."""
        self.refused += len(kept)

    def flush(self) -> None:
        """Nothing waits."""

    def fill(self, network: str, states: Mapping[str, bytes], position: Mapping[str, int]) -> None:
        """There is nothing to fill. Raises StoreUnavailable."""
        raise StoreUnavailable("the feature store is being filled itself: a network's states come after it")

    def filled(self, network: str) -> dict[str, int] | None:
        """Nothing is."""
        return None

    def states(self, network: str, values: Sequence[str]) -> list[bytes]:
        """None is known."""
        return [b""] * len(values)

    def adopt(self, network: str) -> None:
        """There is nothing to adopt. Raises StoreUnavailable."""
        raise StoreUnavailable("the feature store is being filled itself: a network is adopted after it")

    def adopted(self, network: str) -> bool:
        """None is."""
        return False

    def drop_states(self, network: str) -> None:
        """There are none."""

    def close(self) -> None:
        """Nothing to give back."""
