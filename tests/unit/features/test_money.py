"""Money: decimal text in, integer minor units out, never a cent off."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import MAX_AMOUNT
from features.money import EXPONENTS, AmountError, exponent, to_minor, to_minor_many

DIGITS = st.sampled_from([0, 2, 3, 4])


def decimal_rule(value: Decimal, digits: int) -> int:
    """The slow and plain way, as the accountant would do it."""
    return int(value.scaleb(digits).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@given(st.integers(-(10**13), 10**13), DIGITS)
def test_every_amount_of_minor_units_survives_being_a_float(minor: int, digits: int) -> None:
    assert to_minor(minor / 10**digits, digits) == minor


@given(st.floats(-4e14, 4e14), DIGITS)
def test_a_float_is_its_shortest_text_rounded_half_to_even(value: float, digits: int) -> None:
    assert to_minor(value, digits) == decimal_rule(Decimal(repr(value)), digits)


@given(st.decimals(-4 * 10**14, 4 * 10**14, places=5), DIGITS)
def test_decimals_texts_and_floats_agree(value: Decimal, digits: int) -> None:
    expected = decimal_rule(value, digits)
    assert to_minor(value, digits) == expected
    assert to_minor(format(value, "f"), digits) == expected


@given(st.integers(-(MAX_AMOUNT // 100) + 1, MAX_AMOUNT // 100 - 1))
def test_whole_major_units_are_exact_to_the_bound(major: int) -> None:
    assert to_minor(major, 2) == major * 100


@pytest.mark.parametrize(
    ("value", "digits", "minor"),
    [
        (57.16, 2, 5716),
        (1.005, 2, 100),  # half to even of its text; the double itself is below
        (1.015, 2, 102),
        (2.675, 2, 268),
        (0.125, 2, 12),
        (0.135, 2, 14),
        (-0.125, 2, -12),
        (-0.0, 2, 0),
        (0.1 + 0.2, 2, 30),
        (1e-300, 2, 0),
        (35184372088.32, 2, 3518437208832),  # where the quick way ends
        (35184372088.33, 2, 3518437208833),
        (35184372088.335, 2, 3518437208834),
        (1.5, 0, 2),
        (2.5, 0, 2),
        (1.2345, 3, 1234),
        (np.float64(57.16), 2, 5716),
        ("57.16", 2, 5716),
        ("+57.1", 2, 5710),
        ("-57.", 2, -5700),
        ("5.716e1", 2, 5716),
        (Decimal("57.165"), 2, 5716),
        (10**16, 2, 10**18),
    ],
)
def test_an_amount_is_what_its_text_says(value: object, digits: int, minor: int) -> None:
    assert to_minor(value, digits) == minor
    assert type(to_minor(value, digits)) is int


@pytest.mark.parametrize(
    "value", [True, False, None, "", "abc", "57,16", "1 000", "1_000", "0x10", "٣", [], {}, b"1"]
)
def test_what_is_no_decimal_number_is_refused(value: object) -> None:
    with pytest.raises(AmountError, match="a decimal number in major units"):
        to_minor(value, 2)


NOT_FINITE = [
    float("nan"),
    float("inf"),
    -float("inf"),
    "NaN",
    "Infinity",
    "-inf",
    Decimal("NaN"),
    Decimal("sNaN"),
]


@pytest.mark.parametrize("value", [*NOT_FINITE, Decimal("-Infinity")], ids=repr)
def test_what_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(AmountError, match="a finite number"):
        to_minor(value, 2)


@pytest.mark.parametrize(
    "value",
    [
        MAX_AMOUNT,
        -MAX_AMOUNT,
        MAX_AMOUNT // 100 + 1,
        10**400,
        1e300,
        -1e17,
        "1e999",
        "9" * 40,
        Decimal("1e9999999"),
    ],
)
def test_what_is_too_large_is_refused(value: object) -> None:
    with pytest.raises(AmountError, match="an amount below"):
        to_minor(value, 2)


def test_the_bound_itself_is_refused_and_one_unit_less_is_not() -> None:
    assert to_minor(MAX_AMOUNT - 1, 0) == MAX_AMOUNT - 1
    assert to_minor(Decimal(MAX_AMOUNT - 1).scaleb(-2), 2) == MAX_AMOUNT - 1
    with pytest.raises(AmountError):
        to_minor(Decimal(MAX_AMOUNT).scaleb(-2), 2)


def test_currencies_have_their_own_minor_units() -> None:
    assert [exponent(code) for code in ("EUR", "USD", "JPY", "KRW", "KWD", "BHD", "CLF")] == [
        2,
        2,
        0,
        0,
        3,
        3,
        4,
    ]
    assert len(EXPONENTS) > 160
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)
    assert not EXPONENTS.keys() & {"XAU", "XTS", "XXX", "BTC"}


ANYTHING = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.decimals()
    | st.sampled_from(["57.16", "x", ""])
)


def minor_or_refused(value: object, digits: int) -> int | str:
    try:
        return to_minor(value, digits)
    except AmountError as error:
        return str(error)


@given(st.lists(st.tuples(ANYTHING | st.floats(-1e6, 1e6), DIGITS), max_size=4))
def test_many_amounts_are_what_each_is_or_refused_as_one_of_them_is(
    amounts: list[tuple[object, int]],
) -> None:
    expected = [minor_or_refused(*each) for each in amounts]
    values, digits = [value for value, _ in amounts], [each for _, each in amounts]
    refusals = [each for each in expected if isinstance(each, str)]
    if refusals:
        with pytest.raises(AmountError) as caught:
            to_minor_many(values, digits)
        assert str(caught.value) == refusals[0]
    else:
        assert to_minor_many(values, digits) == expected


@given(st.integers(-(1 << 64), 1 << 64) | st.sampled_from([MAX_AMOUNT, -MAX_AMOUNT, MAX_AMOUNT - 1]), DIGITS)
def test_a_whole_number_is_worth_what_its_text_is(value: int, digits: int) -> None:
    assert minor_or_refused(value, digits) == minor_or_refused(str(value), digits)
