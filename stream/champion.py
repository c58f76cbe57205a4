"""Which model decides: a pinned one, or the newest usable snapshot on the topic `models`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from models.base import MEASURES, SEQUENCE, Scorer
from models.snapshot import Snapshot, SnapshotError
from stream.follow import Follower
from stream.model_keys import TrustedKeys
from stream.pipeline import NOBODY, Champion
from stream.records import Record, Tail
from stream.signing import Signed, opened

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


class Contest:
    """Which of the snapshots on the topic is the champion: the one of the highest number that can be used.

    One that is not signed by a trusted key, damaged, of features that are not there, or older than what was there before is
    refused, and the champion stays.
    """

    def __init__(
        self, trusted: TrustedKeys, features_version: str, hashes: Mapping[str, str], model: str = MODEL
    ) -> None:
        """Snapshots of `model` count whose features are among these, and measure the same (see `champion_of`)."""
        self.refused = 0
        self._champion = NOBODY
        self._reigning: Signed | None = None
        self._newest: Signed | None = None  # usable or not: no older one follows it
        self._trusted = trusted
        self._features_version = features_version
        self._hashes = hashes
        self._key = model.encode()

    @property
    def champion(self) -> Champion:
        """Who won so far."""
        return self._champion

    def begin(self) -> None:
        """Read from the beginning: whatever was signed by keys that are trusted no more does not count."""
        self._newest = None

    def again(self) -> bool:
        """Whether other keys are trusted now."""
        if not self._trusted.refresh():
            return False
        reigning = self._reigning
        if reigning is not None and not self._trusted.trusts(reigning.key_id):
            logger.error(
                "%s decides, and the key %s that signed it was revoked: it stays until a snapshot comes that is signed by "
                "a trusted key",
                *(reigning.snapshot.model_version, reigning.key_id),
            )
            self._reigning = None
        return True

    def take(self, records: Sequence[Record]) -> None:
        """Swap to the newest of these that can be used, if any can."""
        valid = [signed for record in records if (signed := self._valid(record)) is not None]
        for signed in reversed(valid):
            if self._crown(signed):
                return

    def _valid(self, record: Record) -> Signed | None:
        if record.key != self._key:
            return None
        try:
            signed = opened_under_its_name(record, self._trusted)
            return signed if self._newer(signed) else None
        except SnapshotError as error:
            self._refuse(f"the snapshot at {record.topic}[{record.partition}]@{record.offset}", error)
            return None

    def _newer(self, signed: Signed) -> bool:
        """Whether it comes after all before it; raises SnapshotError for a number that was there before."""
        newest, snapshot = self._newest, signed.snapshot
        if newest is None or snapshot.number > newest.snapshot.number:
            self._newest = signed
            return True
        if snapshot == newest.snapshot:
            return False  # sent once more, by a learner that went on after a crash or with another key
        raise SnapshotError(
            f"{snapshot.model_version} (made {snapshot.made_at}) comes after {newest.snapshot.model_version} "
            f"(made {newest.snapshot.made_at}): an old one was sent again, or a second learner wrote"
        )

    def _crown(self, signed: Signed) -> bool:
        """Whether this one, or a newer one, decides from now on."""
        if self._reigning is not None and signed.snapshot.number <= self._reigning.snapshot.number:
            return True
        try:
            self._champion = champion_of(signed.snapshot, self._features_version, self._hashes)
        except SnapshotError as error:
            self._refuse(signed.snapshot.model_version, error)
            return False
        self._reigning = signed
        logger.info("%s decides from now on", self._champion.version)
        return True

    def _refuse(self, what: str, why: SnapshotError) -> None:
        self.refused += 1
        logger.error("%s is refused and %s stays: %s", what, self._champion.version, why)


class Published:
    """The champion of the topic `models`, followed in a thread: the scorer swaps when it asks, between two batches."""

    def __init__(self, open_tail: Callable[[], Tail], contest: Contest) -> None:
        """Read all that stands on the topic; raises what keeps it from being read."""
        self._contest = contest
        self._follower = Follower(open_tail, contest)
        self._follower.start()

    @property
    def refused(self) -> int:
        """Snapshots that could not be used so far."""
        return self._contest.refused

    def newest(self) -> Champion:
        """The champion for the next batch; costs nothing."""
        return self._contest.champion

    def close(self) -> None:
        """End the thread."""
        self._follower.close()


def opened_under_its_name(record: Record, trusted: TrustedKeys) -> Signed:
    """The signed snapshot in a record; raises SnapshotError for one that cannot be trusted, or stands under another's key."""
    signed = opened(record.value, trusted.key)
    if signed.name.encode() != record.key:
        raise SnapshotError(f"it is of the model {signed.name!r}, and stands under the key {record.key!r}")
    return signed


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
