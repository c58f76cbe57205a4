"""Columns: whatever stands in a column, it is read as its rows are, or refused where one of them is."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features import columns as by_column
from features import readers as by_row
from features.columns import Columns
from features.faults import FieldError
from features.readers import MAX_TEXT

TIMES = st.datetimes(datetime(1969, 12, 31), datetime(2100, 1, 1))
ZONES = st.none() | st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours))) | st.just(UTC)
TEXTS = st.text(max_size=6) | st.sampled_from(
    ["", "x" * MAX_TEXT, "x" * (MAX_TEXT + 1), "a\0", "a\n", "é", "\ud800"]
)
NUMBERS = (
    st.integers(-10, 10)
    | st.integers()
    | st.sampled_from([1 << 62, -(1 << 62), (1 << 63) - 1, 1 << 64, -(1 << 63), -(1 << 63) - 1, 10**400])
    | st.floats()
    | st.floats(-1000, 1000).map(lambda value: round(value, 2))
)
ODD = (
    st.none()
    | st.booleans()
    | st.decimals(allow_nan=False)
    | st.sampled_from(
        [
            [],
            {},
            date(2020, 1, 2),
            Decimal("1.5"),
            Decimal("NaN"),
            np.float64(2.5),
            np.int64(3),
            np.nan,
            "12",
            "1e5",
        ]
    )
)
ISO = st.tuples(TIMES, ZONES).map(lambda both: both[0].replace(tzinfo=both[1]).isoformat())

KINDS = [
    st.text(min_size=1, max_size=6),
    TEXTS,
    st.integers(-9, 9),
    NUMBERS,
    TIMES,
    ISO,
    ODD,
    TEXTS | NUMBERS | ISO | ODD,
]
COLUMN = st.sampled_from(KINDS).flatmap(lambda kind: st.lists(kind, min_size=1, max_size=4))
"""Mostly of one kind, as columns are."""

PAIRS: dict[str, tuple[Callable, Callable]] = {
    "an id": (by_row.text_reader("a"), by_column.text_columns("a")),
    "an optional entity": (
        by_row.text_reader("a", optional=True),
        by_column.text_columns("a", optional=True),
    ),
    "a personal entity": (by_row.text_reader("a", personal=True), by_column.text_columns("a", personal=True)),
    "a text": (by_row.free_text_reader("a"), by_column.free_text_columns("a")),
    "a number": (by_row.number_reader("a"), by_column.number_columns("a")),
    "a time": (by_row.time_reader("a"), by_column.time_columns("a")),
    "a time in UTC": (by_row.time_reader("a", None, "UTC"), by_column.time_columns("a", None, "UTC")),
    "a local time": (
        by_row.time_reader("a", None, "Europe/Paris"),
        by_column.time_columns("a", None, "Europe/Paris"),
    ),
    "an epoch": (by_row.time_reader("a", "ms"), by_column.time_columns("a", "ms")),
}


def rows_read(read, rows):
    """What each row gives; None where one is refused."""
    try:
        return [read(row) for row in rows]
    except FieldError:
        return None


def columns_read(read_all, columns):
    try:
        return list(read_all(Columns(columns)))
    except FieldError:
        return None


def exactly(values):
    """Values with their types: 1 is not 1.0, nor True."""
    return values and [(type(value), value) for value in values]


@pytest.mark.parametrize("kind", PAIRS)
@given(column=COLUMN)
@example(column=["2026-03-29T02:30:00", "2026-10-25T02:30:00"])
@example(column=["2026-03-29T02:30:00", "2026-10-25T02:30:00Z"])
@example(column=["1969-12-31T23:59:59Z", "2026-10-25T02:30:00Z"])
@example(column=["a", None])
@example(column=[1, None])
@example(column=[1.5, 10**400])
@example(column=[True, 1])
@example(column=[1.5, math.nan])
@example(column=[1.5, math.inf])
@example(column=["a", "x" * (MAX_TEXT + 1)])
def test_a_column_is_read_as_its_rows_are(kind, column):
    read, read_all = PAIRS[kind]
    expected = rows_read(read, [{"a": value} for value in column])
    assert exactly(columns_read(read_all, {"a": column})) == exactly(expected)


@pytest.mark.parametrize("kind", PAIRS)
def test_a_field_that_there_is_no_column_of_is_read_as_a_row_without_it(kind):
    read, read_all = PAIRS[kind]
    assert columns_read(read_all, {"b": [1, 2]}) == rows_read(read, [{"b": 1}, {"b": 2}])


CODES = st.sampled_from(["EUR", "JPY", "KWD", "EURO", "", None, 7]) | st.just([])


@given(amounts=COLUMN, data=st.data())
def test_amounts_are_read_as_their_rows_are_in_one_currency_or_each_in_its_own(amounts, data):
    codes = data.draw(
        st.lists(st.just("EUR") | CODES, min_size=len(amounts), max_size=len(amounts))
        | st.just(["EUR"] * len(amounts))
    )
    rows = [{"a": amount, "c": code} for amount, code in zip(amounts, codes, strict=True)]
    for settings in (("a", "EUR"), ("a", "JPY"), ("a", "", "c")):
        expected = rows_read(by_row.amount_reader(*settings), rows)
        found = columns_read(by_column.amount_columns(*settings), {"a": amounts, "c": codes})
        assert (found and list(zip(*found, strict=True))) == expected


@given(st.lists(st.tuples(TEXTS | NUMBERS, TEXTS), min_size=1, max_size=4))
@example([("x" * 200, "y" * 200)])
def test_an_id_of_several_fields_is_joined_as_that_of_a_row_is(pairs):
    rows = [{"a": first, "b": second} for first, second in pairs]
    expected = rows_read(by_row.event_id_reader(("a", "b"), set()), rows)
    read_all = by_column.event_id_columns(("a", "b"), set())
    assert columns_read(read_all, {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}) == expected
