"""Rates: which had arrived, and what an amount is by it, never a minor unit off."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import MAX_AMOUNT, Converted, Transaction
from features.faults import FieldError
from features.money import EXPONENTS
from features.rates import SETTLES_US, NoRate, Rate, RateTable, exchanged, rate_reader

CODES = st.sampled_from(["EUR", "USD", "JPY", "KWD", "CLF"])
RATES = st.decimals("0.000001", "999999999", places=6).map(lambda rate: format(rate.normalize(), "f"))
AMOUNTS = st.integers(-MAX_AMOUNT + 1, MAX_AMOUNT - 1)
EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)


def event(time_us: int = 0, arrived_us: int = 0, currency: str = "USD", amount: int = 1_000) -> Transaction:
    return Transaction("e", time_us, arrived_us, amount, currency, ("c",), {}, b"body0000")


def plainly(
    rates: list[Rate], to: str, time_us: int, arrived_us: int, currency: str
) -> tuple[int, str] | None:
    """The rule, word by word: of those to this currency that had arrived and are not later than the event, the newest."""
    had = [
        (each.at_us, each.arrived_us, each.rate)
        for each in rates
        if (each.currency, each.to) == (currency, to)
        and each.at_us <= time_us
        and each.arrived_us + SETTLES_US <= arrived_us
    ]
    return (max(had)[0], max(had)[2]) if had else None


@given(AMOUNTS, CODES, CODES, RATES)
def test_an_amount_is_exchanged_exactly_and_rounded_half_to_even_once(
    amount: int, currency: str, to: str, rate: str
) -> None:
    major = EXACT.multiply(Decimal(amount).scaleb(-EXPONENTS[currency], EXACT), Decimal(rate))
    expected = major.scaleb(EXPONENTS[to], EXACT).to_integral_value(ROUND_HALF_EVEN, EXACT)
    assert exchanged(amount, currency, to, rate) == int(expected)


@given(AMOUNTS, CODES, CODES, RATES)
def test_no_amount_is_off_by_more_than_half_a_minor_unit_and_signs_do_not_matter(
    amount: int, currency: str, to: str, rate: str
) -> None:
    exact = Fraction(amount) * Fraction(rate) * Fraction(10) ** (EXPONENTS[to] - EXPONENTS[currency])
    made = exchanged(amount, currency, to, rate)
    assert abs(made - exact) <= Fraction(1, 2)
    assert exchanged(-amount, currency, to, rate) == -made


@pytest.mark.parametrize(
    ("amount", "currency", "to", "rate", "made"),
    [
        (1_00, "USD", "EUR", "0.925", 92),  # half to even, not up
        (1_00, "USD", "EUR", "0.935", 94),
        (-1_00, "USD", "EUR", "0.925", -92),
        (1_00, "USD", "EUR", "0.9250000000000000000000001", 93),
        (1, "JPY", "EUR", "0.005", 0),  # half a cent: to even
        (3, "JPY", "EUR", "0.005", 2),
        (1_000, "KWD", "USD", "3.25", 325),
        (100, "EUR", "JPY", "163", 163),
        (0, "USD", "EUR", "0.9", 0),
    ],
)
def test_halves_go_to_the_even_one(amount: int, currency: str, to: str, rate: str, made: int) -> None:
    assert exchanged(amount, currency, to, rate) == made


RATE = st.builds(
    Rate,
    currency=st.sampled_from(["USD", "JPY"]),
    to=st.sampled_from(["EUR", "EUR", "GBP"]),
    rate=st.sampled_from(["0.5", "0.9", "1.1", "2"]),
    at_us=st.integers(0, 8),
    arrived_us=st.integers(0, 8),
)


@given(st.lists(RATE, max_size=12), st.integers(0, 9), st.integers(0, 9), st.permutations(range(12)))
def test_the_newest_rate_counts_that_had_arrived_and_is_not_later_whatever_order_they_came_in(
    rates: list[Rate], time_us: int, after: int, order: list[int]
) -> None:
    table, arrived_us = RateTable("EUR"), after + SETTLES_US
    for index in order:
        if index < len(rates):
            table.add(rates[index])
    for currency in ("USD", "JPY"):
        found = table.newest(currency, time_us, arrived_us)
        made = None if found is None else (found.at_us, found.rate)
        assert made == plainly(rates, "EUR", time_us, arrived_us, currency)


@given(st.lists(RATE, max_size=8), st.lists(RATE, max_size=8), st.integers(0, 9), st.integers(0, 9))
def test_rates_that_arrive_later_change_nothing_for_an_event_that_was_there(
    before: list[Rate], later: list[Rate], time_us: int, after: int
) -> None:
    """What makes an event decoded twice the same event."""
    arrived_us = after + SETTLES_US
    table, more = RateTable("EUR"), RateTable("EUR")
    for rate in before:
        table.add(rate)
        more.add(rate)
    for rate in later:
        more.add(msgspec.structs.replace(rate, arrived_us=after + 1 + rate.arrived_us))
    assert table.newest("USD", time_us, arrived_us) == more.newest("USD", time_us, arrived_us)


def test_a_rate_counts_once_it_has_settled() -> None:
    table = RateTable("EUR")
    table.add(Rate("USD", "EUR", "0.5", 0, 100))
    with pytest.raises(NoRate):
        table.converted(event(0, 100 + SETTLES_US - 1))
    assert table.converted(event(0, 100 + SETTLES_US)).amount == 500


def test_an_event_says_what_it_was_and_keeps_its_digest() -> None:
    table = RateTable("EUR")
    table.add(Rate("USD", "EUR", "0.9213", 7, 0))
    came = event(10, SETTLES_US)
    made = table.converted(came)
    assert (made.amount, made.currency) == (921, "EUR")
    assert made.converted == Converted(1_000, "USD", "0.9213", 7)
    assert (made.body, made.event_id, made.entities) == (came.body, came.event_id, came.entities)
    same = event(currency="EUR")
    assert table.converted(same) is same
    assert table.converted_all([came, same]) == [made, same]


def test_an_event_of_which_no_rate_had_arrived_is_told_so_by_the_field_of_the_source() -> None:
    table = RateTable("EUR", "waehrung", "betrag")
    table.add(Rate("USD", "EUR", "9000000000", 0, 0))
    with pytest.raises(NoRate) as caught:
        table.converted(event(1_500_000, SETTLES_US, "GBP"))
    assert str(caught.value) == (
        "the field waehrung: expected a currency of which a rate to EUR had arrived, from 1970-01-01T00:00:01.500000+00:00 "
        "or before, found GBP"
    )
    with pytest.raises(
        FieldError, match=r"the field betrag: expected an amount below .* of EUR, found more, by the rate"
    ):
        table.converted(event(0, SETTLES_US, amount=1 << 61))


def test_a_rate_that_is_sent_again_is_known_once() -> None:
    table = RateTable("EUR")
    for _ in range(3):
        table.add(Rate("USD", "EUR", "0.5", 0, 0))
    table.add(Rate("USD", "GBP", "0.5", 0, 0))
    assert len(table) == 1


ROW = {"currency": "USD", "to": "EUR", "rate": "0.9213", "at": "2026-01-02T14:15:00Z"}
AT_US = int(datetime(2026, 1, 2, 14, 15, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("rate", "read"),
    [
        ("0.9213", "0.9213"),
        (0.9213, "0.9213"),
        (1e-7, "0.0000001"),
        (2, "2"),
        ("007.500", "7.5"),
        (Decimal("1.10"), "1.1"),
        (163.0, "163"),
    ],
)
def test_a_rate_is_read_as_plain_digits(rate: object, read: str) -> None:
    assert rate_reader()({**ROW, "rate": rate}, 5) == Rate("USD", "EUR", read, AT_US, 5)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rate": 0}, "the field rate: expected a decimal number above 0, such as 0.9213"),
        ({"rate": "0.000"}, "the field rate"),
        ({"rate": -0.5}, "the field rate"),
        ({"rate": "1,5"}, "the field rate"),
        ({"rate": None}, "the field rate"),
        ({"rate": True}, "the field rate"),
        ({"rate": float("inf")}, "the field rate"),
        ({"rate": float("nan")}, "the field rate"),
        ({"rate": 10**15}, "the field rate"),
        ({"to": "EURO"}, "the field to: expected an ISO 4217 currency code, such as EUR, found 'EURO'"),
        ({"currency": None}, "the field currency"),
        ({"to": "USD"}, "the field to: expected another currency than USD"),
        ({"at": "2026-01-02T14:15:00"}, "the field at: expected a time with its zone"),
        ({"at": "yesterday"}, "the field at"),
    ],
)
def test_a_rate_that_cannot_be_used_is_told_by_its_field(change: dict[str, object], problem: str) -> None:
    with pytest.raises(FieldError) as caught:
        rate_reader()({**ROW, **change}, 0)
    assert problem in str(caught.value)


def test_a_day_is_read_in_the_profiles_zone() -> None:
    read = rate_reader("UTC")({**ROW, "at": "2026-01-02"}, 0)
    assert read.at_us == int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()) * 1_000_000
