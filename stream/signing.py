"""What travels on the topic `models`: an envelope under Ed25519, its layout and its signature.

    magic, format (1 byte), key id (8 bytes) | signature (64 bytes) | statement (MessagePack)

The signature covers all but itself. In format 1 the statement holds the model's name and the snapshot's bytes, in which the
number, the version of the features, the log positions and the scorer stand (models.snapshot). In format 2 it holds a name,
a number and a network's artifact (models.artifact); who knows format 1 alone refuses it by that number. Equal statements
are equal bytes. A manifest in a folder is signed in a file beside it: the same head and signature, without a statement.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, Protocol, Self, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.snapshot import Snapshot, SnapshotError
from stream.topics import MODEL_BYTES

FORMAT, RELEASE_FORMAT = 1, 2
"""Of the envelope of a snapshot, and of a network. Another one is refused by name rather than guessed at."""

MAGIC, MANIFEST_MAGIC = b"weir-model\n", b"weir-sign1\n"
"""Equally long, and another for what stands beside a manifest: no signature of the one is one of the other."""

KEY_ID_BYTES, SIGNATURE_BYTES = 8, 64
HEAD = len(MAGIC) + 1 + KEY_ID_BYTES

LARGEST = MODEL_BYTES - 4_096
"""Bytes of an envelope: Kafka counts the record's key, headers and frame to the topic's limit, too."""


class SignatureError(SnapshotError):
    """A snapshot that is not signed by a key that is trusted here, or was changed since; the text says which and why."""


class TooLarge(SnapshotError):
    """A snapshot or a network that the topic does not take."""


class _Statement(msgspec.Struct, frozen=True):
    name: str
    snapshot: bytes


class Numbered(Protocol):
    """What is published: of one name, in the order of its numbers."""

    @property
    def number(self) -> int:
        """Rises by one, or more."""
        ...

    @property
    def model_version(self) -> str:
        """What decisions name."""
        ...

    @property
    def made_at(self) -> str:
        """ISO 8601."""
        ...


class Release(msgspec.Struct, frozen=True):
    """A network as it was published."""

    name: str
    number: int
    made_at: str  # of the release, not of the network; ISO 8601
    artifact: bytes  # as models.artifact packs it

    @property
    def model_version(self) -> str:
        """What decisions name."""
        return f"{self.name}-{self.number}"


Held = TypeVar("Held", bound=Numbered)


class Signed(msgspec.Struct, Generic[Held], frozen=True):
    """A snapshot, or a network, whose signature held."""

    name: str  # the model's
    key_id: str
    snapshot: Held


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
        statement = msgspec.msgpack.encode(_Statement(name, snapshot.encode()))
        return self._enveloped(
            FORMAT,
            statement,
            snapshot.model_version,
            "Declare fewer features in the profile, or a smaller model",
        )

    def sign_release(self, release: Release) -> bytes:
        """The envelope of a network: the same one each time. Raises TooLarge."""
        return self._enveloped(
            RELEASE_FORMAT,
            msgspec.msgpack.encode(release),
            release.model_version,
            "Train it with a smaller width, fewer layers, or fewer buckets of a category",
        )

    def sign_manifest(self, manifest: bytes) -> bytes:
        """What stands in a file beside these bytes: the same each time."""
        head = MANIFEST_MAGIC + bytes([FORMAT]) + bytes.fromhex(self.public.id)
        return head + self._key.sign(head + manifest)

    def _enveloped(self, form: int, statement: bytes, what: str, mend: str) -> bytes:
        head = MAGIC + bytes([form]) + bytes.fromhex(self.public.id)
        if (size := HEAD + SIGNATURE_BYTES + len(statement)) > LARGEST:
            raise TooLarge(
                f"{what} has {size:,} bytes, and the topic takes {LARGEST:,}: it cannot travel, and the champion stays. {mend}"
            )
        return head + self._key.sign(head + statement) + statement


def opened(value: bytes, key_of: Callable[[str], PublicKey]) -> Signed[Snapshot]:
    """The snapshot in an envelope; `key_of` gives the trusted key of an id, or raises SignatureError.

    Raises SnapshotError for what is damaged, cut short, of another format, or not signed by that key. Nothing of the
    content is read before the signature held.
    """
    key_id, said = _stated(value, key_of, FORMAT, _Statement)
    return Signed(said.name, key_id, Snapshot.decode(said.snapshot))


def opened_release(value: bytes, key_of: Callable[[str], PublicKey]) -> Signed[Release]:
    """The same of a network; whether its artifact is sound is for models.artifact to tell."""
    key_id, release = _stated(value, key_of, RELEASE_FORMAT, Release)
    return Signed(release.name, key_id, release)


def signer_of_manifest(signature: bytes, manifest: bytes, key_of: Callable[[str], PublicKey]) -> str:
    """The id of the trusted key that signed these bytes; raises SnapshotError if none did."""
    head, signed = signature[:HEAD], signature[HEAD:]
    if not signature:
        raise SignatureError("the manifest is not signed: `weir models publish` signs what it publishes")
    if not head.startswith(MANIFEST_MAGIC) or len(signed) != SIGNATURE_BYTES:
        raise SignatureError("what stands beside the manifest is no signature of Weir")
    _refuse_format(head, FORMAT)
    _refuse_unsigned(head, signed, manifest, key_of)
    return _key_id(head)


Statement = TypeVar("Statement")


def _stated(
    value: bytes, key_of: Callable[[str], PublicKey], form: int, kind: type[Statement]
) -> tuple[str, Statement]:
    """Which key signed, and what: nothing of it is read before."""
    head, signature, statement = _parts(value)
    _refuse_format(head, form)
    _refuse_unsigned(head, signature, statement, key_of)
    try:
        return _key_id(head), msgspec.msgpack.decode(statement, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(
            f"the key {_key_id(head)} signed what is no statement of Weir: {error}"
        ) from error


def _refuse_unsigned(
    head: bytes, signature: bytes, message: bytes, key_of: Callable[[str], PublicKey]
) -> None:
    key_id = _key_id(head)
    if not key_of(key_id).holds(signature, head + message):
        raise SignatureError(
            f"it was changed or cut short after the key {key_id} signed it, or never was signed by it"
        )


def _key_id(head: bytes) -> str:
    return head[-KEY_ID_BYTES:].hex()


def _refuse_format(head: bytes, form: int) -> None:
    if head[len(MAGIC)] != form:
        raise SnapshotError(
            f"the signed snapshot is of format {head[len(MAGIC)]}, this Weir reads format {form} here: "
            "start the scorers with the learner's version of Weir first"
        )


def _parts(value: bytes) -> tuple[bytes, bytes, bytes]:
    if not value.startswith(MAGIC):
        raise SnapshotError("these bytes are no signed snapshot of Weir")
    if len(value) <= HEAD + SIGNATURE_BYTES:
        raise SnapshotError(f"the signed snapshot is cut short: {len(value)} bytes")
    return value[:HEAD], value[HEAD : HEAD + SIGNATURE_BYTES], value[HEAD + SIGNATURE_BYTES :]
