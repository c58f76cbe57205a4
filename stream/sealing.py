"""The master key, and what is sealed with it alone: AES-GCM with a key that never leaves its file.

The file is ``WEIR_DIR/keys/seal.key``, or one that ``WEIR_SEAL_KEY_FILE`` names. It gives, by derivation, the key of
pseudonyms (what stands for a personal value where it must match), the key of the feature store's Redis keys, and the
key that wraps people's own. Whoever loses it can open nothing that was sealed.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.keyfiles import make_first

KEY_FILE = Path("keys", "seal.key")
"""Below WEIR_DIR; 64 hexadecimal digits."""

VERSION = b"\x01"
KEY_BYTES, ID_BYTES, NONCE_BYTES, TAG_BYTES, PERSON_BYTES = 32, 4, 12, 16, 16
OVERHEAD = len(VERSION) + ID_BYTES + NONCE_BYTES + TAG_BYTES
"""A sealed value is so many bytes longer than what is in it."""


class SealError(Exception):
    """A key file or a sealed value that cannot be used: why, and what to do."""


class Sealer:
    """Seals and opens bytes, and stands keyed hashes in for personal values.

    >>> sealer = Sealer(bytes(32))
    >>> sealer.open(sealer.seal(b"4111 1111 1111 1111"))
    b'4111 1111 1111 1111'
    """

    def __init__(self, key: bytes) -> None:
        """Derive all keys from one of 32 bytes; `Sealer.at` reads or makes it."""
        if len(key) != KEY_BYTES:
            raise SealError(f"a seal key has {KEY_BYTES} bytes, this one {len(key)}")
        self._aead = AESGCM(_derived(key, b"seal"))
        self._head = VERSION + _derived(key, b"id")[:ID_BYTES]
        self._pseudonyms = _derived(key, b"pseudonym")
        self._hash_key = _derived(key, b"redis keys")
        self._content = _derived(key, b"content")
        self._envelopes = _derived(key, b"envelope")
        self._wrapping = AESGCM(_derived(key, b"wrap"))

    @classmethod
    def at(cls, directory: Path) -> Sealer:
        """The Sealer of a WEIR_DIR, whose key file is made at first use, by one of several processes."""
        file = directory / KEY_FILE
        if not file.exists():
            make_first(file, secrets.token_hex(KEY_BYTES) + "\n")
        return cls(_key_of(file, 0o077))

    @classmethod
    def of_file(cls, file: Path) -> Sealer:
        """The Sealer of a key file that must be there: machines that made one each could not read each other's.

        A group may read it, as a cluster's secrets are mounted.
        """
        if not file.exists():
            raise SealError(
                f"there is no seal key at {file}: copy it from a machine that has it, "
                f"or make the first one: (umask 077; openssl rand -hex {KEY_BYTES} > {file})"
            )
        return cls(_key_of(file, 0o007))

    @property
    def key_id(self) -> str:
        """Names the key, in hex, and tells nothing of it."""
        return self._head[1:].hex()

    def seal(self, value: bytes) -> bytes:
        """Encrypt: the same value gives other bytes each time. Good for 2**32 values with one key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self._head + nonce + self._aead.encrypt(nonce, value, self._head)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed; raises SealError for another key, another version, or bytes that were changed."""
        return self._opened(self._aead, sealed)

    def _opened(self, aead: AESGCM, sealed: bytes, bound: bytes = b"") -> bytes:
        body = 1 + ID_BYTES + NONCE_BYTES
        if len(sealed) < OVERHEAD or sealed[:1] != VERSION:
            raise SealError("these bytes were not sealed by this version of Weir")
        if sealed[: 1 + ID_BYTES] != self._head:
            raise SealError(f"sealed with the key {sealed[1 : 1 + ID_BYTES].hex()}, not with {self.key_id}")
        try:
            return aead.decrypt(sealed[1 + ID_BYTES : body], sealed[body:], self._head + bound)
        except InvalidTag:
            raise SealError("these bytes were changed after they were sealed") from None

    def pseudonym(self, entity: str, value: str) -> str:
        """32 hexadecimal digits that stand for an entity's value: equal values match, none is read back."""
        text = f"{entity}\0{value}".encode(errors="surrogatepass")
        return blake2b(text, key=self._pseudonyms, digest_size=PERSON_BYTES).hexdigest()

    def wrap(self, person: str, key: bytes) -> bytes:
        """A person's key as it may be kept: only this master key opens it, and only for this person."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self._head + nonce + self._wrapping.encrypt(nonce, key, self._head + person.encode())

    def unwrap(self, person: str, wrapped: bytes) -> bytes:
        """A person's key again; raises SealError for another master key or another person."""
        return self._opened(self._wrapping, wrapped, person.encode())

    def envelope_key(self) -> bytes:
        """The master key's part in the key of every envelope (stream.envelope)."""
        return self._envelopes

    def content_key(self) -> bytes:
        """The key of digests of what an event holds, and of ids that are made of what is personal."""
        return self._content

    def hash_key(self) -> bytes:
        """The key with which the feature store digests entity values into its Redis keys."""
        return self._hash_key


def _derived(key: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, key=key, digest_size=KEY_BYTES, person=b"weir keys v1").digest()


def _key_of(file: Path, closed: int) -> bytes:
    """The key in a file whose mode has none of the bits `closed`."""
    if file.stat().st_mode & closed:
        raise SealError(f"others may read {file}: run chmod 600 on it")
    try:
        return bytes.fromhex(file.read_text())
    except ValueError as error:
        raise SealError(
            f"{file} holds no key: 64 hexadecimal digits expected; put back its backup"
        ) from error
