"""Weir's own records as bytes and back: JSON with the schema's version in ``v``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import msgspec
from msgspec import NODEFAULT, UNSET

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


def encode_many(records: Sequence[DecisionRecord | AlertRecord | LabelRecord]) -> list[bytes]:
    """`encode` of each."""
    return list(map(_ENCODER.encode, records))


def struct_of(names: Sequence[str], default: object = NODEFAULT) -> type[msgspec.Struct]:
    """A struct that stands for JSON objects with these fields; with a `default`, which may be UNSET, they may be absent.

    Raises ValueError for a name that JSON must escape.
    """
    keys = [f"f{number}" for number in range(len(names))]
    fields = [(key, Any, default) for key in keys]
    return msgspec.defstruct("Fields", fields, rename=dict(zip(keys, names, strict=True)), gc=False)


def object_of(names: Sequence[str]) -> Callable[..., object]:
    """Makes of a value a name what is written as their dict would be, at a fifth of its cost; UNSET is left out.

    >>> msgspec.json.encode(object_of(("amount", "ratio"))(57.16, UNSET))
    b'{"amount":57.16}'
    """
    with suppress(ValueError):
        return struct_of(names)
    return lambda *values: {
        name: value for name, value in zip(names, values, strict=True) if value is not UNSET
    }


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
