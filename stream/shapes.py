"""JSON records by the column: what a batch of ordinary records holds, at a fraction of reading one after the other.

A shape is a set of fields. Records that have no others are read into a struct of these fields, which costs half of what a
dict does; that none has a field twice, or another, is then one count for the whole batch. Shapes are learned from the
records themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET

from features.columns import Values
from stream.wire import struct_of

MAX_FIELDS = 64
"""Where more are seen, those of the newest batch alone are remembered."""

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Odd(Exception):
    """Something in a batch is out of the ordinary: each of its records must be read by itself."""


class Table(NamedTuple):
    """Records by the column."""

    columns: dict[str, Values]  # field -> its value in each record; None where it has none
    fields: dict[str, int]  # field -> how many records have it


class Shape:
    """Records with these fields, and no others."""

    def __init__(self, names: Sequence[str]) -> None:
        """Any record may lack any of them. The names are such as JSON writes without escapes."""
        self.names = tuple(names)
        self._decode = msgspec.json.Decoder(struct_of(self.names, UNSET)).decode

    def read(self, values: Sequence[bytes]) -> Table:
        """What records hold; raises Odd where one is no JSON object, or holds a field twice or another field."""
        named = names_in(values)
        try:
            rows = list(map(self._decode, values))
        except MALFORMED as error:
            raise Odd from error
        columns = list(zip(*map(msgspec.structs.astuple, rows), strict=True))
        fields = {
            name: len(rows) - column.count(UNSET) for name, column in zip(self.names, columns, strict=True)
        }
        # Each field that was found in a record is one name at least, so where the sums agree there is none besides.
        if named != sum(fields.values()) or not columns:
            raise Odd
        return Table(
            {
                name: column if fields[name] == len(rows) else [None if v is UNSET else v for v in column]
                for name, column in zip(self.names, columns, strict=True)
            },
            fields,
        )


class Shapes:
    """The shape of one topic's records, as it was learned so far."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._shape = Shape(())
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode

    def read(self, values: Sequence[bytes], *, learn: bool = True) -> Table:
        """What `Shape.read` gives of these records, once it is learned from them."""
        try:
            return self._shape.read(values)
        except Odd:
            if not learn or not self._learned(values):
                raise
        return self._shape.read(values)

    def _learned(self, values: Sequence[bytes]) -> bool:
        """Whether the records had a field that is new."""
        seen = dict.fromkeys(filter(_plain, chain.from_iterable(map(self._names, values))))
        both = dict.fromkeys([*self._shape.names, *seen])
        if len(both) == len(self._shape.names) or len(seen) > MAX_FIELDS:
            return False
        self._shape = Shape(tuple(both if len(both) <= MAX_FIELDS else seen))
        return True

    def _names(self, value: bytes) -> dict[str, Any]:
        try:
            return self._decode(value)
        except MALFORMED:
            return {}  # the codec says what is wrong with it


def names_in(values: Sequence[bytes]) -> int:
    """How many names stand in records, at any depth, or more; raises Odd for white space before a colon."""
    together = b"".join(values)
    if b"\n" in together or b"\t" in together or b"\r" in together or _count(b" :", together):
        raise Odd
    return _count(b'":', together)


def _count(pair: bytes, text: bytes) -> int:
    """How often two bytes stand side by side, at a ninth of what `text.count` costs."""
    wanted = np.frombuffer(pair, np.uint16)
    both = (np.frombuffer(text[start:], np.uint16, (len(text) - start) // 2) for start in (0, 1))
    return sum(int(np.count_nonzero(words == wanted)) for words in both)


def _plain(name: str) -> bool:
    """Whether JSON writes a name without escapes."""
    return msgspec.json.encode(name) == b'"%b"' % name.encode()
