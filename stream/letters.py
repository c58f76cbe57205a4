"""Dead letters: records that could not be used, why, and their bytes as they came, which only their keys open.

Where a person can be read from a record, theirs is one of the keys, so that forgetting them makes it unreadable; else the
master key is the only one. Key and value lie in one envelope: the record in `.dlq` has a keyed hash for a key where
that is personal.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stream.envelope import Envelopes
from stream.keyring import NOBODY, Opener, Pair, Seals
from stream.records import Outgoing
from stream.sealing import VERSION as FORMAT_1
from stream.sealing import Sealer

RECORD, FIELD, CONFLICT, FATAL, RATE = REASONS = ("record", "field", "conflict", "fatal", "rate")
"""Kinds of reasons: the record cannot be read as a whole, a field cannot be used, the id was used before for something else,
it ended every worker that took it in hand, or no rate of its currency had arrived."""


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A record that could not be used, and why."""

    topic: str  # without a tenant's prefix
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    reason: str  # for people: names the field, what is expected and what was found; no personal value in it
    at_us: int  # when it arrived, to give it back its clock when it is replayed
    kind: str = RECORD  # one of REASONS
    people: tuple[Pair, ...] = ()  # whom it is about, as far as that can be read


class AsItCame(msgspec.Struct, array_like=True, frozen=True):
    """What an envelope holds."""

    key: bytes | None
    value: bytes


class LetterOffice:
    """Seals dead letters for the log."""

    def __init__(self, sealer: Sealer, key_of: str | None = None) -> None:
        """`key_of` is the entity whose values are the records' keys, where it is personal."""
        self._pseudonym = sealer.pseudonym
        self._key_of = key_of
        self._envelopes = Envelopes(sealer)

    def sealed(self, letter: DeadLetter, seals: Seals = NOBODY) -> bytes:
        """The envelope of a letter; `seals` has everybody whom it is about."""
        keys = [seals[pair].at(letter.at_us) for pair in letter.people]
        return self._envelopes.seal(msgspec.msgpack.encode(AsItCame(letter.key, letter.value)), keys)

    def outgoing(self, letter: DeadLetter, seals: Seals = NOBODY) -> Outgoing:
        """The record for the topic `<its topic>.dlq`."""
        headers = {
            "reason": letter.reason,
            "topic": letter.topic,
            "partition": str(letter.partition),
            "offset": str(letter.offset),
            "at": str(letter.at_us),
        }
        encoded = tuple((name, text.encode("utf-8", "replace")) for name, text in headers.items())
        return Outgoing(self._key(letter.key), self.sealed(letter, seals), encoded)

    def _key(self, key: bytes | None) -> bytes | None:
        if key is None or self._key_of is None:
            return key
        return self._pseudonym(self._key_of, text_of(key)).encode()


def text_of(key: bytes) -> str:
    """A record's key as text, whatever bytes it has."""
    return key.decode("utf-8", "backslashreplace")


def as_it_came(
    opener: Opener, value: bytes, key: bytes | None, unsealed: Callable[[bytes], bytes]
) -> AsItCame:
    """The record behind a letter's `value`; raises Forgotten and SealError.

    Of a letter of format 1 the `key` was sealed by itself: `unsealed` opens it.
    """
    if value[:1] == FORMAT_1:
        return AsItCame(None if key is None else unsealed(key), opener.open(value))
    return msgspec.msgpack.decode(opener.open(value), type=AsItCame)
