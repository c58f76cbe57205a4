"""Weir's own records as bytes and back: JSON with the schema's version in ``v``."""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

from stream.decisions import AlertRecord, DecisionRecord, LabelRecord

SCHEMA = 1
"""The version of every record on the wire that this code writes and reads."""

WireRecord = TypeVar("WireRecord", DecisionRecord, AlertRecord, LabelRecord)


class WireError(ValueError):
    """A record of Weir's own that cannot be read."""


_ENCODER = msgspec.json.Encoder()
_DECODERS = {kind: msgspec.json.Decoder(kind) for kind in (DecisionRecord, AlertRecord, LabelRecord)}


class _Version(msgspec.Struct):
    v: int = SCHEMA


_VERSION = msgspec.json.Decoder(_Version)


def encode(record: DecisionRecord | AlertRecord | LabelRecord) -> bytes:
    """A record of Weir's own as it stands on the wire."""
    return _ENCODER.encode(record)


def decode(value: bytes, kind: type[WireRecord]) -> WireRecord:
    """A record of Weir's own from the wire; raises WireError if it is none, or of another schema version."""
    try:
        record = cast("WireRecord", _DECODERS[kind].decode(value))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_other_version(value, kind)
        raise WireError(f"not a {kind.__name__}: {error}") from error
    if record.v != SCHEMA:
        _refuse_other_version(value, kind)
    return record


def _refuse_other_version(value: bytes, kind: type) -> None:
    try:
        version = _VERSION.decode(value).v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if version != SCHEMA:
        raise WireError(
            f"a {kind.__name__} of schema {version}; this Weir reads {SCHEMA}: use the one that wrote it"
        )
