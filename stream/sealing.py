"""What Weir writes of other people's bytes is sealed: AES-GCM with a key that never leaves ``WEIR_DIR/keys``.

The same key file gives, by derivation, the key of pseudonyms (what stands for a personal value where it
must match) and the key of the feature store's Redis keys. Whoever has the file can open what was sealed;
whoever loses it cannot.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_FILE = Path("keys", "seal.key")
"""Below WEIR_DIR; 64 hexadecimal digits."""

VERSION = b"\x01"
KEY_BYTES, ID_BYTES, NONCE_BYTES, TAG_BYTES = 32, 4, 12, 16
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

    @classmethod
    def at(cls, directory: Path) -> Sealer:
        """The Sealer of a WEIR_DIR, whose key file is made at first use, by one of several processes."""
        return cls(_key_of(directory / KEY_FILE))

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
        body = 1 + ID_BYTES + NONCE_BYTES
        if len(sealed) < OVERHEAD or sealed[:1] != VERSION:
            raise SealError("these bytes were not sealed by this version of Weir")
        if sealed[: 1 + ID_BYTES] != self._head:
            raise SealError(f"sealed with the key {sealed[1 : 1 + ID_BYTES].hex()}, not with {self.key_id}")
        try:
            return self._aead.decrypt(sealed[1 + ID_BYTES : body], sealed[body:], self._head)
        except InvalidTag:
            raise SealError("these bytes were changed after they were sealed") from None

    def pseudonym(self, entity: str, value: str) -> str:
        """32 hexadecimal digits that stand for an entity's value: equal values match, none is read back."""
        text = f"{entity}\0{value}".encode()
        return blake2b(text, key=self._pseudonyms, digest_size=16).hexdigest()

    def hash_key(self) -> bytes:
        """The key with which the feature store digests entity values into its Redis keys."""
        return self._hash_key


def _derived(key: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, key=key, digest_size=KEY_BYTES, person=b"weir keys v1").digest()


def _key_of(file: Path) -> bytes:
    if not file.exists():
        _make(file)
    if file.stat().st_mode & 0o077:
        raise SealError(f"others may read {file}: run chmod 600 on it")
    try:
        return bytes.fromhex(file.read_text())
    except ValueError as error:
        raise SealError(
            f"{file} holds no key: 64 hexadecimal digits expected; put back its backup"
        ) from error


def _make(file: Path) -> None:
    """Write the file whole under another name, then link it into place: the first process wins."""
    if not file.parent.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_hex(KEY_BYTES) + "\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        with suppress(FileExistsError):
            os.link(fresh, file)
    finally:
        fresh.unlink()
    _sync(file.parent)


def _sync(directory: Path) -> None:
    """Make a directory's entries durable: what is sealed soon must be openable after a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
