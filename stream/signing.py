"""Signed snapshots as they stand on the topic `models`: an envelope under Ed25519, its layout and its signature.

    magic, format (1 byte), key id (8 bytes) | signature (64 bytes) | statement (MessagePack)

The signature covers all but itself. The statement holds the model's name and the snapshot's bytes, in which the number,
the version of the features, the log positions and the scorer stand (models.snapshot); equal statements are equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.snapshot import Snapshot, SnapshotError
from stream.topics import MODEL_BYTES

FORMAT = 1
"""Of the envelope. Another one is refused by name rather than guessed at."""

MAGIC = b"weir-model\n"
KEY_ID_BYTES, SIGNATURE_BYTES = 8, 64
HEAD = len(MAGIC) + 1 + KEY_ID_BYTES

LARGEST = MODEL_BYTES - 4_096
"""Bytes of an envelope: Kafka counts the record's key, headers and frame to the topic's limit, too."""


class SignatureError(SnapshotError):
    """A snapshot that is not signed by a key that is trusted here, or was changed since; the text says which and why."""


class TooLarge(SnapshotError):
    """A snapshot that the topic does not take."""


class _Statement(msgspec.Struct, frozen=True):
    name: str
    snapshot: bytes


class Signed(msgspec.Struct, frozen=True):
    """A snapshot whose signature held."""

    name: str  # the model's
    key_id: str
    snapshot: Snapshot


class PublicKey:
    """One that checks; its id is a digest of it, 16 hexadecimal digits."""

    def __init__(self, raw: bytes) -> None:
        """Of 32 bytes; raises ValueError for others."""
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.id = blake2b(raw, digest_size=KEY_ID_BYTES).hexdigest()

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's, of this message."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer:
    """Signs with one private key.

    >>> signer = Signer(bytes(32))
    >>> signer.public.id
    '2cc96806064a60c5'
    """

    def __init__(self, seed: bytes) -> None:
        """Of 32 bytes; raises ValueError for others."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def fresh(cls) -> Self:
        """With a new key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The private key: for its file, and for nobody else."""
        return self._key.private_bytes_raw()

    def sign(self, name: str, snapshot: Snapshot) -> bytes:
        """The envelope of a model's snapshot: the same one each time. Raises TooLarge."""
        head = MAGIC + bytes([FORMAT]) + bytes.fromhex(self.public.id)
        statement = msgspec.msgpack.encode(_Statement(name, snapshot.encode()))
        if (size := HEAD + SIGNATURE_BYTES + len(statement)) > LARGEST:
            raise TooLarge(
                f"{snapshot.model_version} has {size:,} bytes, and the topic takes {LARGEST:,}: it cannot travel, and the "
                "champion stays. Declare fewer features in the profile, or a smaller model"
            )
        return head + self._key.sign(head + statement) + statement


def opened(value: bytes, key_of: Callable[[str], PublicKey]) -> Signed:
    """The snapshot in an envelope; `key_of` gives the trusted key of an id, or raises SignatureError.

    Raises SnapshotError for what is damaged, cut short, of another format, or not signed by that key. Nothing of the
    content is read before the signature held.
    """
    head, signature, statement = _parts(value)
    key_id = head[-KEY_ID_BYTES:].hex()
    if not key_of(key_id).holds(signature, head + statement):
        raise SignatureError(
            f"it was changed or cut short after the key {key_id} signed it, or never was signed by it"
        )
    try:
        said = msgspec.msgpack.decode(statement, type=_Statement)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"the key {key_id} signed what is no statement of Weir: {error}") from error
    return Signed(said.name, key_id, Snapshot.decode(said.snapshot))


def _parts(value: bytes) -> tuple[bytes, bytes, bytes]:
    if not value.startswith(MAGIC):
        raise SnapshotError("these bytes are no signed snapshot of Weir")
    if len(value) <= HEAD + SIGNATURE_BYTES:
        raise SnapshotError(f"the signed snapshot is cut short: {len(value)} bytes")
    if value[len(MAGIC)] != FORMAT:
        raise SnapshotError(
            f"the signed snapshot is of format {value[len(MAGIC)]}, this Weir reads format {FORMAT}: "
            "start the scorers with the learner's version of Weir first"
        )
    return value[:HEAD], value[HEAD : HEAD + SIGNATURE_BYTES], value[HEAD + SIGNATURE_BYTES :]
