"""The readers' twins for many rows at once: what is ordinary is read by the column, anything else value by value.

What a column reader gives is what its reader of one row gives for each row; it raises the FieldError of one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime
from math import isfinite
from types import NoneType
from typing import TypeVar, cast

from features.events import EPOCH, NAIVE_EPOCH, microseconds
from features.money import EXPONENTS, AmountError, to_minor_many
from features.readers import (
    MAX_TEXT,
    Row,
    amount_reader,
    event_id_reader,
    free_text_reader,
    number_reader,
    text_reader,
    time_reader,
)

T = TypeVar("T")

Values = Sequence[object]
"""A field's value in each row; None where the row has no such field."""

Money = tuple[Sequence[int], Sequence[str]]
"""Minor units, and their currencies."""


class Columns:
    """Rows by the column: of a field that there is no column of, every row has None."""

    def __init__(self, columns: Mapping[str, Values]) -> None:
        """All columns have the same length."""
        self._columns = columns
        self.count = len(next(iter(columns.values()), ()))

    def __getitem__(self, field: str) -> Values:
        """One column."""
        column = self._columns.get(field)
        return [None] * self.count if column is None else column

    def each(self, read: Callable[[Row], T], *fields: str) -> list[T]:
        """What a reader of these fields gives of each row."""
        columns = [self[field] for field in fields]
        return [read(dict(zip(fields, values, strict=True))) for values in zip(*columns, strict=True)]


def text_columns(
    field: str, *, personal: bool = False, optional: bool = False
) -> Callable[[Columns], Sequence[str]]:
    """`text_reader`, for columns."""
    read = text_reader(field, personal=personal, optional=optional)

    def read_all(columns: Columns) -> Sequence[str]:
        values = columns[field]
        texts = _ids(["" if value is None else value for value in values] if optional else values, optional)
        return columns.each(read, field) if texts is None else texts

    return read_all


def event_id_columns(fields: Sequence[str], personal: Set[str]) -> Callable[[Columns], Sequence[str]]:
    """`event_id_reader`, for columns."""
    readers = [text_columns(field, personal=field in personal) for field in fields]
    if len(readers) == 1:
        return readers[0]
    read = event_id_reader(fields, personal)

    def read_all(columns: Columns) -> Sequence[str]:
        joined = list(map("-".join, zip(*[each(columns) for each in readers], strict=True)))
        return columns.each(read, *fields) if max(map(len, joined)) > MAX_TEXT else joined

    return read_all


def time_columns(
    field: str, unit: str | None = None, timezone: str | None = None
) -> Callable[[Columns], Sequence[int]]:
    """`time_reader`, for columns."""
    read = time_reader(field, unit, timezone)

    def read_all(columns: Columns) -> Sequence[int]:
        times = None if unit else _since_1970(columns[field], naive_in_utc=timezone == "UTC")
        return columns.each(read, field) if times is None else times

    return read_all


def amount_columns(
    field: str, currency: str, currency_field: str | None = None
) -> Callable[[Columns], Money]:
    """`amount_reader`, for columns."""
    read = amount_reader(field, currency, currency_field)

    def read_all(columns: Columns) -> Money:
        currencies = columns[currency_field] if currency_field else [currency] * columns.count
        minor = _minor(columns[field], currencies)
        if minor is not None:
            return minor, _texts(currencies)
        pairs = columns.each(read, field, *([currency_field] if currency_field else []))
        return [amount for amount, _ in pairs], [code for _, code in pairs]

    return read_all


def free_text_columns(field: str) -> Callable[[Columns], Sequence[str | None]]:
    """`free_text_reader`, for columns."""
    read = free_text_reader(field)

    def read_all(columns: Columns) -> Sequence[str | None]:
        values = columns[field]
        present = [value for value in values if type(value) is str]
        plain = set(map(type, values)) <= {str, NoneType} and "".join(present).isprintable()
        return [value or None for value in _texts(values)] if plain else columns.each(read, field)

    return read_all


def number_columns(field: str) -> Callable[[Columns], Sequence[float | None]]:
    """`number_reader`, for columns."""
    read = number_reader(field)

    def read_all(columns: Columns) -> Sequence[float | None]:
        numbers = _finite(columns[field])
        return columns.each(read, field) if numbers is None else numbers

    return read_all


def _ids(values: Values, optional: bool) -> Sequence[str] | None:
    """Texts, or whole numbers as texts; None where they are not all of one kind, or something is odd about one."""
    kinds = set(map(type, values))
    if kinds == {int}:
        numbers = cast("Sequence[int]", values)
        return list(map(str, numbers)) if min(numbers) >= -(1 << 63) and max(numbers) < 1 << 64 else None
    if kinds != {str} or not (optional or all(values)):
        return None
    texts = _texts(values)
    return texts if max(map(len, texts)) <= MAX_TEXT and "".join(texts).isprintable() else None


def _since_1970(values: Values, *, naive_in_utc: bool) -> Sequence[int] | None:
    """Microseconds; None where the texts are no times, or not all naive or all with a zone, or one is too old."""
    try:
        times = list(map(datetime.fromisoformat, _texts(values)))
        epoch = NAIVE_EPOCH if naive_in_utc and times[0].tzinfo is None else EPOCH
        found = [microseconds(when - epoch) for when in times]
    except (TypeError, ValueError):
        return None
    return found if min(found) >= 0 else None


def _minor(values: Values, currencies: Values) -> Sequence[int] | None:
    """Minor units; None where a currency is none, or an amount."""
    try:
        return to_minor_many(values, [EXPONENTS[code] for code in _texts(currencies)])
    except (KeyError, TypeError, AmountError):
        return None


def _finite(values: Values) -> Sequence[float | None] | None:
    """Numbers, where there are; None where one is of another kind, or too large."""
    if not set(map(type, values)) <= {float, int, NoneType}:
        return None
    try:
        numbers = [
            value if value is None else float(value) for value in cast("Sequence[float | None]", values)
        ]
    except OverflowError:
        return None
    return numbers if all(value is None or isfinite(value) for value in numbers) else None


def _texts(values: Values) -> Sequence[str]:
    return cast("Sequence[str]", values)
