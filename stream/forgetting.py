"""Forgetting a person: their key, and what is known of them; and what that does not do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from features.store import FeatureStore
from stream.keyring import KeyStore
from stream.sealing import Sealer

FORGOTTEN_NOT = (
    "the input topics (transactions, labels) are your own: what they hold of this person stays until their retention "
    "ends or you delete it, and state that is built again from them knows the person again",
    "decisions, alerts and labels stay, with their features and amounts, under a keyed hash in place of the person",
    "what other entities counted of this person (a merchant's sums, a device's number of cards) stays counted",
    "copies made before (backups, replicas' and archived logs of the database, snapshots of Redis) still hold the key "
    "and the features: delete them, or forget again after restoring one",
    "records that could not be read at all name nobody: see weir dead-letters list and weir dead-letters forget",
    "a worker may go on with the old key for a second, which seals what nobody can read; what arrives from now on is "
    "sealed with a new key, like a stranger's",
)
"""What a user who forgets somebody has to know."""


class Done(msgspec.Struct, frozen=True):
    """What was forgotten."""

    entity: str
    person: str  # the keyed hash that stands for them
    key: bool  # whether there was a key
    features: bool  # whether there were features
    at_us: int  # by the stream's clock: what arrived up to here is sealed for nobody
    not_done: Sequence[str] = FORGOTTEN_NOT


class Forgetting:
    """Forgets people of one Weir."""

    def __init__(
        self,
        sealer: Sealer,
        keys: KeyStore,
        features: FeatureStore,
        personal: Sequence[str],
        clock_us: Callable[[int], int],
    ) -> None:
        """`personal` are the entities that may be people; `clock_us` gives the stream's time from that on the wall."""
        self._sealer = sealer
        self._keys = keys
        self._features = features
        self._personal = tuple(personal)
        self._clock_us = clock_us

    def forget(self, value: str, entity: str | None = None) -> Done:
        """Forget whom `value` of an entity stands for; once more changes nothing.

        Raises ValueError where the profile calls no entity personal, or several and none is named.
        """
        name = self._entity(entity)
        person = self._sealer.pseudonym(name, value)
        at_us = self._clock_us(time.time_ns() // 1_000)
        key = self._keys.forget(person, at_us)
        return Done(name, person, key, self._features.forget(name, value), at_us)

    def _entity(self, entity: str | None) -> str:
        listed = ", ".join(self._personal) or "none"
        if entity is None and len(self._personal) == 1:
            return self._personal[0]
        if entity is None or entity not in self._personal:
            wrong = f"{entity!r} is not personal" if entity else "it is not clear whose value this is"
            raise ValueError(f"{wrong}: --entity names one that the profile calls personal ({listed})")
        return entity
