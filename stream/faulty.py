"""Why bytes are not the JSON object that a record must be, told to whoever sent them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import NamedTuple, NoReturn

import msgspec

from features.faults import FieldError, shown


class RecordError(ValueError):
    """A record that cannot be used as a whole."""


_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity|nan|inf)\b")
_LAST_KEY = re.compile(rb'"([^"\\]{1,100})"\s*:\s*-?$')


def refuse(value: bytes, error: Exception) -> NoReturn:
    """Say why bytes are no JSON, in the terms of whoever sent them."""
    if isinstance(error, RecursionError):
        raise RecordError("the JSON is nested too deep") from None
    if isinstance(error, UnicodeDecodeError):
        raise RecordError("the record is not UTF-8 text") from None
    if not value.strip():
        raise RecordError("the record is empty") from None
    if value.startswith(b"\0") and len(value) > 5:
        raise RecordError(
            'the record is not JSON; if it is Avro, the profile must say [source] format = "avro"'
        ) from None
    if value.startswith(b"\xef\xbb\xbf"):
        raise RecordError("the record begins with a byte order mark: send UTF-8 without one") from None
    if isinstance(error, msgspec.ValidationError):
        raise _out_of_range(value) from None
    raise _not_json(value, str(error)) from None


def _not_json(value: bytes, problem: str) -> ValueError:
    if "truncated" in problem and _python_reads(value):
        return RecordError("a text in the JSON holds half a character (a lone surrogate such as \\ud800)")
    if "truncated" in problem:
        return RecordError(f"the JSON ends too early, after {len(value):,} bytes")
    at = re.search(r"byte (\d+)", problem)
    place = int(at[1]) if at else 0
    token = _NOT_A_NUMBER.match(value, place) or _NOT_A_NUMBER.match(value, max(0, place - 1))
    if at and token:
        field = _field_of(value, token.start())
        if field is None:
            return RecordError(f"the JSON holds {token[0].decode()}, which is no finite number")
        return FieldError(field, "a finite number", token[0].decode())
    return RecordError(f"the record is not JSON: {problem.removeprefix('JSON is malformed: ')}")


def _field_of(value: bytes, place: int) -> str | None:
    """The field of the record that holds the first number which is not finite, at `place`; None where nothing tells."""
    try:
        top = json.loads(value)
    except (ValueError, RecursionError):
        top = None  # what Python cannot read either, such as `nan`: the key before it may tell
    key = _LAST_KEY.search(value, max(0, place - 300), place)
    return _holder(top) or (key[1].decode("utf-8", "replace") if key else None)


def _holder(top: object) -> str | None:
    """The first field in which such a number stands, however deep."""
    fields = top.items() if isinstance(top, dict) else ()
    return next((name for name, found in fields if _endless(found)), None)


def _endless(value: object) -> bool:
    """Whether a number that is not finite stands somewhere in a value."""
    if isinstance(value, dict | list):
        return any(map(_endless, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and not math.isfinite(value)


def _python_reads(value: bytes) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _out_of_range(value: bytes) -> ValueError:
    try:
        raw = json.loads(value)
    except (ValueError, RecursionError):
        return RecordError("the JSON holds a number that is too large")
    name = _holder(raw)
    if name is None:
        return RecordError("the JSON holds a number that is too large")
    return FieldError(name, "a finite number", "one that is too large")


class _Pairs(NamedTuple):
    pairs: list[tuple[str, object]]


def refuse_repeated(value: bytes) -> None:
    """Raise RecordError where the object names a field twice: which of the two is meant, nobody can say."""
    try:
        top = json.loads(value, object_pairs_hook=_Pairs)
    except RecursionError:
        raise RecordError("the JSON is nested too deep") from None
    for name, times in Counter(name for name, _ in top.pairs).items():
        if times > 1:
            raise RecordError(f"the JSON object has the field {shown(name)} {times} times")
