"""Envelopes: bytes that are encrypted for people, and that nobody can read any more once one of them is forgotten.

Format 2: the version (1 byte), the master key's id (4), how many people (1), of each the person (16) and the id of their
key (4); then a nonce (12), and what AES-GCM makes of the value. Its key is derived from the master key and from the keys of
all these people, in this order. Everything before the nonce is authenticated. Format 1 (stream.sealing) is opened too.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.sealing import ID_BYTES, KEY_BYTES, NONCE_BYTES, PERSON_BYTES, TAG_BYTES, Sealer, SealError
from stream.sealing import VERSION as FORMAT_1

VERSION = b"\x02"
HEAD_BYTES = len(VERSION) + ID_BYTES + 1
NAMED_BYTES = PERSON_BYTES + ID_BYTES
MOST = 255  # people of one envelope


class Forgotten(SealError):
    """An envelope of somebody who was forgotten: nobody can read it any more."""


class PersonKey(NamedTuple):
    """The key of one person, who is named by a keyed hash."""

    person: str  # 32 hexadecimal digits: Sealer.pseudonym
    key: bytes

    @property
    def id(self) -> bytes:
        """Names the key, and tells nothing of it: a person who comes again after being forgotten has another."""
        return blake2b(b"id", key=self.key, digest_size=ID_BYTES, person=b"weir person key").digest()


def fresh_key(person: str) -> PersonKey:
    """A new key for a person."""
    return PersonKey(person, secrets.token_bytes(KEY_BYTES))


class Envelopes:
    """Seals and opens envelopes with one master key.

    >>> envelopes, ada = Envelopes(Sealer(bytes(32))), PersonKey("0a" * 16, bytes(32))
    >>> sealed = envelopes.seal(b"Ada", [ada])
    >>> envelopes.people(sealed) == [ada.person], envelopes.open(sealed, {ada.person: ada.key})
    (True, b'Ada')
    """

    def __init__(self, sealer: Sealer) -> None:
        """The master key is that of `sealer`, which opens what is of format 1."""
        self._sealer = sealer
        self._start = VERSION + bytes.fromhex(sealer.key_id)
        self._master = sealer.envelope_key()

    def seal(self, value: bytes, keys: Sequence[PersonKey] = ()) -> bytes:
        """Encrypt for these people; for none of them: with the master key alone."""
        named = b"".join([bytes.fromhex(key.person) + key.id for key in keys])
        head = self._start + bytes([len(keys)]) + named
        nonce = secrets.token_bytes(NONCE_BYTES)
        return head + nonce + self._aead([key.key for key in keys]).encrypt(nonce, value, head)

    def people(self, sealed: bytes) -> list[str]:
        """Whose keys it takes to open an envelope; raises SealError where it is none."""
        return [] if sealed[:1] == FORMAT_1 else [person for person, _ in self._named(sealed)]

    def open(self, sealed: bytes, keys: Mapping[str, bytes]) -> bytes:
        """What was sealed, with the keys of those of its people who have one.

        Raises Forgotten where one of them has none, or another since; SealError for another master key, or bytes that
        are no envelope or were changed.
        """
        if sealed[:1] == FORMAT_1:
            return self._sealer.open(sealed)
        named = self._named(sealed)
        for person, key_id in named:
            if person not in keys or PersonKey(person, keys[person]).id != key_id:
                raise Forgotten("the person whom this is about was forgotten: nobody can read it any more")
        body = HEAD_BYTES + len(named) * NAMED_BYTES
        nonce, rest = sealed[body : body + NONCE_BYTES], sealed[body + NONCE_BYTES :]
        try:
            return self._aead([keys[person] for person, _ in named]).decrypt(nonce, rest, sealed[:body])
        except InvalidTag:
            raise SealError("these bytes were changed after they were sealed") from None

    def _named(self, sealed: bytes) -> list[tuple[str, bytes]]:
        count = sealed[HEAD_BYTES - 1] if len(sealed) >= HEAD_BYTES else 0
        body = HEAD_BYTES + count * NAMED_BYTES
        if sealed[:1] != VERSION or len(sealed) < body + NONCE_BYTES + TAG_BYTES:
            raise SealError("these bytes were not sealed by this version of Weir")
        if not sealed.startswith(self._start):
            found = sealed[1 : 1 + ID_BYTES].hex()
            raise SealError(f"sealed with the key {found}, not with {self._sealer.key_id}")
        starts = range(HEAD_BYTES, body, NAMED_BYTES)
        return [
            (sealed[at : at + PERSON_BYTES].hex(), sealed[at + PERSON_BYTES : at + NAMED_BYTES])
            for at in starts
        ]

    def _aead(self, keys: Sequence[bytes]) -> AESGCM:
        mixed = blake2b(b"".join(keys), key=self._master, digest_size=KEY_BYTES, person=b"weir envelope 2")
        return AESGCM(mixed.digest())
