"""The envelope of a scorer's bytes: what kind it is, its features and its state, under a digest."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from models.snapshot import SnapshotError

FORMAT = 1
MAGIC = b"weir-scorer\n"
DIGEST_BYTES = 16
HEAD = len(MAGIC) + 1


class CodecError(SnapshotError):
    """A scorer that cannot be written, or bytes that cannot be read as one; the text says why."""


class Packed(msgspec.Struct, frozen=True):
    """A scorer as it is written."""

    kind: str
    features: tuple[str, ...]
    state: Any  # plain values


def pack(kind: str, features: tuple[str, ...], state: Any) -> bytes:
    """The bytes of a scorer; equal arguments give equal bytes.

    >>> unpack(pack("null", ("amount",), 0.5)).state
    0.5
    """
    body = MAGIC + bytes([FORMAT]) + msgspec.msgpack.encode(Packed(kind, features, state))
    return body + blake2b(body, digest_size=DIGEST_BYTES).digest()


def unpack(data: bytes) -> Packed:
    """What was packed; raises CodecError for bytes that are damaged, cut short or of another format."""
    if not data.startswith(MAGIC) or len(data) < HEAD + DIGEST_BYTES:
        raise CodecError("these bytes are no scorer of Weir")
    if data[HEAD - 1] != FORMAT:
        raise CodecError(f"the scorer is of format {data[HEAD - 1]}, this Weir reads format {FORMAT}")
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
        raise CodecError("the scorer's bytes are cut short or damaged: their digest does not match")
    try:
        return msgspec.msgpack.decode(memoryview(body)[HEAD:], type=Packed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(f"this is not a scorer's state: {error}") from error
