"""The learner's way to the topic `models`: what a checkpoint holds is published after it, and again where the topic lacks it.

The ledger is the source of truth: a snapshot is published only once the checkpoint with the positions and labels behind it
is committed. A learner that dies in between leaves the topic behind the ledger; the next one publishes the ledger's newest
before it does anything else. The other way round cannot happen. So is healed, too, what came over the topic from elsewhere:
a record that nobody can use, an older one sent again, and the newest under a key that signs no more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.snapshot import Snapshot, SnapshotError
from stream.champion import MODEL
from stream.contest import opened_under_its_name
from stream.follow import Follower
from stream.model_keys import SigningKey, TrustedKeys
from stream.records import Outgoing, Publisher, Record, Tail
from stream.signing import opened

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0
"""So long after a snapshot was sent the topic may still show another: it is not sent once more before."""

VERSION = b"1"


class Standing(NamedTuple):
    """The last record of the model on the topic, if it can be trusted."""

    number: int
    key_id: str


class Publishing:
    """Publishes snapshots of one model, signed, and sees that the topic shows the newest."""

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        key: SigningKey,
        trusted: TrustedKeys,
        open_tail: Callable[[], Tail],
        *,
        model: str = MODEL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read what stands on the topic; raises what keeps it from being read, and ModelKeyError."""
        key.signer()
        self._publisher, self._topic, self._key = publisher, topic, key
        self._model, self._clock = model, clock
        self._newest: Snapshot | None = None
        self._sent_at = -PATIENCE_SECONDS
        self._seen = _Seen(trusted, model)
        self._follower = Follower(open_tail, self._seen)
        self._follower.start()

    def resume(self, newest: Snapshot | None) -> int:
        """Publish the ledger's newest snapshot if the topic does not show it; gives the number that is taken.

        That of the topic may be higher, if the database was put back: to number below it would be in vain.
        """
        self._newest = newest
        self.tend()
        return max(self._seen.highest, newest.number if newest else 0)

    def signed(self, snapshot: Snapshot) -> Outgoing:
        """The record of a snapshot; raises TooLarge and ModelKeyError, so ask before the checkpoint is committed."""
        value = self._key.signer().sign(self._model, snapshot)
        headers = (("v", VERSION), ("model_version", snapshot.model_version.encode()))
        return Outgoing(self._model.encode(), value, headers)

    def publish(self, snapshot: Snapshot, record: Outgoing) -> None:
        """Send what `signed` gave of a snapshot; returns when it is durable."""
        self._newest = snapshot
        self._publisher.publish(self._topic, [record])
        self._sent_at = self._clock()

    def tend(self) -> None:
        """Send the newest snapshot again if the topic does not show it, or under another key. To be called now and then."""
        newest = self._newest
        if newest is None or self._clock() - self._sent_at < PATIENCE_SECONDS or self._shown(newest):
            return
        logger.warning(
            "the topic %s does not show %s under our key %s, so it is sent again",
            *(self._topic, newest.model_version, self._key.signer().public.id),
        )
        self.publish(newest, self.signed(newest))

    def _shown(self, newest: Snapshot) -> bool:
        last = self._seen.last
        if last is None or last.number != newest.number:
            return last is not None and last.number > newest.number
        return last.key_id == self._key.signer().public.id

    def close(self) -> None:
        """End the thread and give back the connections."""
        self._follower.close()
        self._publisher.close()


def signers_on(open_tail: Callable[[], Tail], trusted: TrustedKeys, model: str = MODEL) -> dict[int, str]:
    """By number: the key that signed the model's snapshots that stand on the topic, as far as they can be trusted."""
    seen = _Signers(trusted, model)
    Follower(open_tail, seen).read_all()
    return seen.signers


class _Seen:
    """What stands on the topic, as a learner looks at it (stream.follow.Audience)."""

    def __init__(self, trusted: TrustedKeys, model: str) -> None:
        self.last: Standing | None = None
        self.highest = 0
        self._trusted = trusted
        self._key = model.encode()

    def begin(self) -> None:
        self.last, self.highest = None, 0

    def again(self) -> bool:
        return self._trusted.refresh()

    def take(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.key == self._key:
                self._saw(record)

    def _saw(self, record: Record) -> None:
        try:
            signed = opened_under_its_name(record, self._trusted, opened)
        except SnapshotError as error:
            logger.warning("at %s[%d]@%d: %s", record.topic, record.partition, record.offset, error)
            self.last = None
            return
        self._stands(Standing(signed.snapshot.number, signed.key_id))

    def _stands(self, standing: Standing) -> None:
        self.last = standing
        self.highest = max(self.highest, standing.number)


class _Signers(_Seen):
    """The same for a person who asks: keeps every number's last key."""

    def __init__(self, trusted: TrustedKeys, model: str) -> None:
        super().__init__(trusted, model)
        self.signers: dict[int, str] = {}

    def _stands(self, standing: Standing) -> None:
        self.signers[standing.number] = standing.key_id
