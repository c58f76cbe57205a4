"""The newest usable of what is published under one key of the topic `models`, whatever it is: a snapshot or a network."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from models.snapshot import SnapshotError
from stream.follow import Follower
from stream.model_keys import TrustedKeys
from stream.records import Record, Tail
from stream.signing import Held, PublicKey, Signed

logger = logging.getLogger(__name__)

Used = TypeVar("Used")

Open = Callable[[bytes, Callable[[str], PublicKey]], Signed[Held]]
"""What reads an envelope: stream.signing's `opened` or `opened_release`. Raises SnapshotError."""


class NewestUsable(ABC, Generic[Held, Used]):
    """Of the records under a model's key, what is in use: the one of the highest number that can be used.

    One that is not signed by a trusted key, damaged, of no use here, or older than what was there before is refused, and
    what is in use stays.
    """

    def __init__(self, trusted: TrustedKeys, model: str, open_: Open[Held], nobody: Used) -> None:
        """Until there is one, `nobody` is in use."""
        self.refused = 0
        self._used: Used = nobody
        self._version = "none"
        self._reigning: Signed[Held] | None = None
        self._newest: Signed[Held] | None = None  # usable or not: no older one follows it
        self._trusted = trusted
        self._open = open_
        self._key = model.encode()

    @abstractmethod
    def use(self, held: Held) -> Used:
        """What is to be used of one that was signed; raises SnapshotError if it cannot be."""

    @property
    def newest(self) -> Used:
        """What is in use."""
        return self._used

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

    def _valid(self, record: Record) -> Signed[Held] | None:
        if record.key != self._key:
            return None
        try:
            signed = opened_under_its_name(record, self._trusted, self._open)
            return signed if self._newer(signed) else None
        except SnapshotError as error:
            self._refuse(f"the snapshot at {record.topic}[{record.partition}]@{record.offset}", error)
            return None

    def _newer(self, signed: Signed[Held]) -> bool:
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

    def _crown(self, signed: Signed[Held]) -> bool:
        """Whether this one, or a newer one, decides from now on."""
        snapshot = signed.snapshot
        if self._reigning is not None and snapshot.number <= self._reigning.snapshot.number:
            return True
        try:
            self._used = self.use(snapshot)
        except SnapshotError as error:
            self._refuse(snapshot.model_version, error)
            return False
        self._reigning, self._version = signed, snapshot.model_version
        logger.info("%s decides from now on", self._version)
        return True

    def _refuse(self, what: str, why: SnapshotError) -> None:
        self.refused += 1
        logger.error("%s is refused and %s stays: %s", what, self._version, why)


class Published(Generic[Used]):
    """What the topic `models` says is in use, followed in a thread: who asks between two batches swaps there."""

    def __init__(self, open_tail: Callable[[], Tail], contest: NewestUsable[Any, Used]) -> None:
        """Read all that stands on the topic; raises what keeps it from being read."""
        self._contest = contest
        self._follower = Follower(open_tail, contest)
        self._follower.start()

    @property
    def refused(self) -> int:
        """Of those that were published: how many could not be used so far."""
        return self._contest.refused

    def newest(self) -> Used:
        """What is to be used in the next batch; costs nothing."""
        return self._contest.newest

    def close(self) -> None:
        """End the thread."""
        self._follower.close()


def opened_under_its_name(record: Record, trusted: TrustedKeys, open_: Open[Held]) -> Signed[Held]:
    """What is in a record; raises SnapshotError if it cannot be trusted, or stands under another's key."""
    signed = open_(record.value, trusted.key)
    if signed.name.encode() != record.key:
        raise SnapshotError(f"it is of the model {signed.name!r}, and stands under the key {record.key!r}")
    return signed
