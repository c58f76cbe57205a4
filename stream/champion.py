"""Which model decides: a pinned one, or the newest snapshot that the learner published."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from models.snapshot import Snapshot, SnapshotError
from stream.pipeline import NOBODY, Champion

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""How often the newest snapshot is looked for: far below the time in which a label can change a model's mind."""


class ChampionFeed(Protocol):
    """Where the scorer's champion comes from, asked between two batches."""

    def newest(self) -> Champion:
        """The champion for the next batch."""
        ...


class Pinned:
    """One champion for ever: for repeating a run exactly."""

    def __init__(self, champion: Champion) -> None:
        """Decide with `champion` only."""
        self._champion = champion

    def newest(self) -> Champion:
        """The pinned champion."""
        return self._champion


class Published:
    """The newest snapshot in the registry that fits the features; an unusable one is refused and the champion stays."""

    def __init__(
        self,
        newest_after: Callable[[int], Snapshot | None],
        features_version: str,
        names: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `newest_after(number)` for a snapshot newer than `number`, at most every POLL_SECONDS."""
        self._newest_after = newest_after
        self._features_version = features_version
        self._names = tuple(names)
        self._clock = clock
        self._champion = NOBODY
        self._number = 0
        self._next_poll = 0.0

    def newest(self) -> Champion:
        """The champion for the next batch; reads the registry when the last look is old enough."""
        if self._clock() >= self._next_poll:
            self._poll()
            self._next_poll = self._clock() + POLL_SECONDS
        return self._champion

    def _poll(self) -> None:
        try:
            snapshot = self._newest_after(self._number)
            if snapshot is not None:
                self._number = snapshot.number
                self._champion = champion_of(snapshot, self._features_version, self._names)
        except SnapshotError as error:
            logger.error("a snapshot is refused and %s stays: %s", self._champion.version, error)


def champion_of(snapshot: Snapshot, features_version: str, names: Sequence[str]) -> Champion:
    """The champion that a snapshot holds; raises SnapshotError if it was learned on other features."""
    if snapshot.features_version != features_version:
        raise SnapshotError(
            f"{snapshot.model_version} was learned on the features {snapshot.features_version}, "
            f"the profile declares {features_version}: train a new model, or go back to the profile it was learned with"
        )
    from models.codec import load_scorer  # brings River, which only those who score need

    return Champion(load_scorer(snapshot.scorer, tuple(names)), snapshot.model_version, snapshot.threshold)


def champion_from_file(path: Path, features_version: str, names: Sequence[str]) -> Champion:
    """The champion that a snapshot file holds; raises SnapshotError if it cannot be used, OSError if not read."""
    return champion_of(Snapshot.decode(path.read_bytes()), features_version, names)
