"""Which model decides: a pinned one, or the newest usable snapshot on the topic `models`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from models.base import MEASURES, SEQUENCE, Scorer
from models.snapshot import Snapshot, SnapshotError
from stream.contest import NewestUsable
from stream.model_keys import TrustedKeys
from stream.pipeline import NOBODY, Champion
from stream.signing import opened

if TYPE_CHECKING:
    from models.incremental import RiverScorer

logger = logging.getLogger(__name__)

MODEL = "river"
"""The name of the model whose newest snapshot is the champion: the key of its records."""


class ChampionFeed(Protocol):
    """Where the scorer's champion comes from, asked between two batches."""

    @property
    def refused(self) -> int:
        """Snapshots that could not be used so far."""
        ...

    def newest(self) -> Champion:
        """The champion for the next batch."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Pinned:
    """One champion for ever: for repeating a run exactly."""

    refused = 0

    def __init__(self, champion: Champion) -> None:
        """Decide with `champion` only."""
        self._champion = champion

    def newest(self) -> Champion:
        """The pinned champion."""
        return self._champion

    def close(self) -> None:
        """Nothing is held."""


class Contest(NewestUsable[Snapshot, Champion]):
    """Which of the snapshots on the topic is the champion: the one of the highest number that can be used.

    One that is not signed by a trusted key, damaged, of features that are not there, or older than what was there before is
    refused, and the champion stays.
    """

    def __init__(
        self, trusted: TrustedKeys, features_version: str, hashes: Mapping[str, str], model: str = MODEL
    ) -> None:
        """Snapshots of `model` count whose features are among these, and measure the same (see `champion_of`)."""
        super().__init__(trusted, model, opened, NOBODY)
        self._features_version = features_version
        self._hashes = hashes

    @property
    def champion(self) -> Champion:
        """Who won so far."""
        return self.newest

    def use(self, held: Snapshot) -> Champion:
        """The champion that a snapshot holds."""
        return champion_of(held, self._features_version, self._hashes)


def champion_of(snapshot: Snapshot, features_version: str, hashes: Mapping[str, str]) -> Champion:
    """The champion that a snapshot holds, for vectors of these features: their names in order, and what each measures.

    One that reads the network's probability gets it behind the features, NaN where there is no network (any more).

    Raises SnapshotError if a feature that it reads is not there, or measures something else. A snapshot that does not say
    what its features measure must be of the same feature set.
    """
    _refuse_other_features(snapshot, features_version, {**hashes, **MEASURES})
    from models.codec import load_scorer  # brings River, which only those who score need
    from models.narrowed import Narrowed

    names = tuple([name for name in hashes if name not in MEASURES])
    names += tuple([name for name in snapshot.features if name in MEASURES])
    scorer = load_scorer(snapshot.scorer, snapshot.features if snapshot.hashes else names)
    fitting = scorer if scorer.features == names else Narrowed(scorer, names)
    return Champion(fitting, snapshot.model_version, snapshot.threshold)


def _refuse_other_features(snapshot: Snapshot, features_version: str, hashes: Mapping[str, str]) -> None:
    if not snapshot.hashes:
        if snapshot.features_version != features_version:
            raise SnapshotError(
                f"{snapshot.model_version} was learned on the features {snapshot.features_version}, the profile declares "
                f"{features_version}: train a new model, or go back to the profile it was learned with"
            )
        return
    reads = dict(zip(snapshot.features, snapshot.hashes, strict=True))
    missing = [name for name in reads if name not in hashes]
    changed = [name for name in reads if name in hashes and hashes[name] != reads[name]]
    if missing or changed:
        told = [f"{name}, which the profile does not declare" for name in missing]
        told += [f"{name}, which measures something else now" for name in changed]
        raise SnapshotError(
            f"{snapshot.model_version} reads {'; '.join(told)}: declare it as it was, or train a new model"
        )


def resumed(snapshot: Snapshot, features_version: str, hashes: Mapping[str, str]) -> Scorer | None:
    """The scorer that goes on learning from a snapshot on vectors of these features; None where one must begin anew.

    It keeps what it learned for the features that stayed. It is an ensemble if it was one: `models.ensemble.taken_over` gives
    it the parts that are wanted now. Raises SnapshotError for one that is damaged.
    """
    from models.codec import load_scorer
    from models.ensemble import EnsembleScorer
    from models.incremental import RiverScorer

    names = tuple([name for name in hashes if name != SEQUENCE])
    if snapshot.features_version == features_version:
        return load_scorer(snapshot.scorer, (*names, SEQUENCE) if SEQUENCE in snapshot.features else names)
    reads = dict(zip(snapshot.features, snapshot.hashes, strict=False))  # empty where it does not say
    kept = {name for name in names if name in reads and hashes[name] == reads[name]}
    scorer = load_scorer(snapshot.scorer, snapshot.features) if kept else None
    if isinstance(scorer, EnsembleScorer):
        _say_what_stays(snapshot, names, kept)
        return scorer.with_river(_carried(scorer.river, names, kept))
    if isinstance(scorer, RiverScorer):
        _say_what_stays(snapshot, names, kept)
        return _carried(scorer, names, kept)
    logger.warning(
        "%s was learned on other features, none of which is declared as it was: learning begins anew",
        snapshot.model_version,
    )
    return None


def _say_what_stays(snapshot: Snapshot, names: Sequence[str], kept: Collection[str]) -> None:
    logger.warning(
        "%s goes on with %d of its %d features; new are %s",
        *(snapshot.model_version, len(kept), sum(name not in MEASURES for name in snapshot.features)),
        ", ".join(name for name in names if name not in kept) or "none",
    )


def _carried(river: RiverScorer, names: tuple[str, ...], kept: Collection[str]) -> RiverScorer:
    from models.carried import carried

    return river if river.features == names and len(kept) == len(names) else carried(river, names, kept)


def champion_from_file(path: Path, features_version: str, hashes: Mapping[str, str]) -> Champion:
    """The champion that a snapshot file holds; raises SnapshotError if it cannot be used, OSError if not read."""
    return champion_of(Snapshot.decode(path.read_bytes()), features_version, hashes)
