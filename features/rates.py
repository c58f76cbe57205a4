"""Rates of exchange: which one had arrived when an event came, and what an amount is by it, exactly.

Which rate an event gets is a function of the event and of the rates that had arrived before it: whoever decodes it again, later
or elsewhere, with more rates at hand, gives it the same.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from features.events import MAX_AMOUNT, Converted, Transaction, to_datetime
from features.faults import FieldError, shown
from features.grammar import meant
from features.money import EXPONENTS, TOO_LARGE
from features.readers import Row, plain, time_reader

SETTLES_US = 5_000_000
"""A rate counts from so long after its arrival. Until then it may stand on the log and not be seen by every scorer yet, and two
of them, or one before and after a restart, would convert an event differently."""

NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,30})?", re.ASCII)
LARGEST = 10**15
A_RATE = "a decimal number above 0, such as 0.9213"


class Rate(msgspec.Struct, frozen=True, gc=False):
    """What one unit of a currency is in another, as somebody said it."""

    currency: str  # ISO 4217
    to: str  # ISO 4217
    rate: str  # major units of `to` for one of `currency`: plain decimal digits, without trailing zeros
    at_us: int  # of when it is, by whoever made it: it holds until the next
    arrived_us: int


class NoRate(FieldError):
    """An event in a currency of which no rate had arrived."""


class Quote(msgspec.Struct, frozen=True, gc=False, order=True):
    """A rate as it is looked up: the later `at_us` counts, and of equal ones the later arrival."""

    at_us: int
    counts_us: int  # from which arrival of an event on
    rate: str


class _Quotes:
    """The rates from one currency, in their order."""

    def __init__(self) -> None:
        self.quotes: list[Quote] = []
        self.times: list[int] = []  # by place: of when it is
        self.firsts: list[int] = []  # by place: from when on the first of it and all before counts

    def add(self, quote: Quote) -> None:
        at = bisect_right(self.quotes, quote)
        if at and self.quotes[at - 1] == quote:
            return
        self.quotes.insert(at, quote)
        self.times.insert(at, quote.at_us)
        del self.firsts[at:]
        for each in self.quotes[at:]:
            self.firsts.append(min(each.counts_us, self.firsts[-1] if self.firsts else each.counts_us))

    def newest(self, time_us: int, arrived_us: int) -> Quote | None:
        at = bisect_right(self.times, time_us)
        while at and self.firsts[at - 1] <= arrived_us:
            at -= 1
            if self.quotes[at].counts_us <= arrived_us:
                return self.quotes[at]
        return None


class RateTable:
    """All rates to one currency that are known: nothing leaves it, since an event may come late or again."""

    def __init__(self, to: str, currency_field: str = "currency", amount_field: str = "amount") -> None:
        """Knows no rate to `to` yet. The fields are those that a source has them in, for reasons."""
        self.to = to
        self._currency_field, self._amount_field = currency_field, amount_field
        self._of: dict[str, _Quotes] = {}

    def __len__(self) -> int:
        """How many rates are known."""
        return sum(len(each.quotes) for each in self._of.values())

    def newest_by_currency(self) -> dict[str, int]:
        """By currency: of when its newest rate is."""
        return {code: quotes.quotes[-1].at_us for code, quotes in self._of.items()}

    def add(self, rate: Rate) -> None:
        """Know a rate, in whatever order they come; one to another currency is passed over."""
        if rate.to == self.to:
            quote = Quote(rate.at_us, rate.arrived_us + SETTLES_US, rate.rate)
            self._of.setdefault(rate.currency, _Quotes()).add(quote)

    def newest(self, currency: str, time_us: int, arrived_us: int) -> Quote | None:
        """The rate for an event of `time_us` that arrived at `arrived_us`: the newest not later than the event that had arrived."""
        quotes = self._of.get(currency)
        return quotes.newest(time_us, arrived_us) if quotes else None

    def converted(self, event: Transaction) -> Transaction:
        """The event with its amount in the table's currency, and what it was before; raises NoRate, FieldError.

        One in that currency already stays as it is.
        """
        if event.currency == self.to:
            return event
        quote = self.newest(event.currency, event.time_us, event.arrived_us)
        if quote is None:
            at = to_datetime(event.time_us).isoformat()
            expected = f"a currency of which a rate to {self.to} had arrived, from {at} or before"
            raise NoRate(self._currency_field, expected, event.currency)
        return converted_by(event, self.to, quote.rate, quote.at_us, self._amount_field)

    def converted_all(self, events: Sequence[Transaction]) -> list[Transaction]:
        """`converted` of each; raises what that raises of one of them."""
        to, convert = self.to, self.converted
        return [event if event.currency == to else convert(event) for event in events]


def converted_by(
    event: Transaction, to: str, rate: str, at_us: int, amount_field: str = "amount"
) -> Transaction:
    """The event with its amount in `to`, by a rate of `at_us`; raises FieldError for an amount that is too large then."""
    amount = exchanged(event.amount, event.currency, to, rate)
    if not -MAX_AMOUNT < amount < MAX_AMOUNT:
        raise FieldError(amount_field, f"{TOO_LARGE} of {to}", "more, by the rate that had arrived")
    return Transaction(  # as `replace` would, at three times the cost
        event.event_id,
        event.time_us,
        event.arrived_us,
        amount,
        to,
        event.entities,
        event.fields,
        event.body,
        Converted(event.amount, event.currency, rate, at_us),
    )


def exchanged(amount: int, currency: str, to: str, rate: str) -> int:
    """Minor units of `currency` as minor units of `to`, exact and then half to even.

    >>> exchanged(10_00, "USD", "EUR", "0.9213"), exchanged(100, "JPY", "EUR", "0.00625"), exchanged(5, "EUR", "JPY", "50")
    (921, 62, 2)
    """
    numerator, denominator = _ratio(currency, to, rate)
    whole, rest = divmod(amount * numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole & 1))


@lru_cache(maxsize=1 << 10)
def _ratio(currency: str, to: str, rate: str) -> tuple[int, int]:
    """Minor units of `to` for one of `currency`."""
    whole, _, fraction = rate.partition(".")
    scale = EXPONENTS[to] - EXPONENTS[currency] - len(fraction)
    return int(whole + fraction) * 10 ** max(scale, 0), 10 ** max(-scale, 0)


def rate_reader(timezone: str | None = None) -> Callable[[Row, int], Rate]:
    """A reader of a rate that arrived at a time: `currency`, `to`, `rate`, `at`; naive times are in `timezone`.

    The reader raises FieldError.
    """
    read_at = time_reader("at", timezone=timezone)

    def read(row: Row, arrived_us: int) -> Rate:
        currency, to = _code(row, "currency"), _code(row, "to")
        if currency == to:
            raise FieldError("to", f"another currency than {currency}", shown(to))
        return Rate(currency, to, _rate(row.get("rate")), read_at(row), arrived_us)

    return read


def _code(row: Row, field: str) -> str:
    value = plain(row.get(field))
    if not isinstance(value, str) or value not in EXPONENTS:
        hint = meant(value.strip().upper(), tuple(EXPONENTS)) if isinstance(value, str) else ""
        raise FieldError(field, "an ISO 4217 currency code, such as EUR", shown(value) + hint)
    return value


def _rate(value: object) -> str:
    """Plain digits; a float means its shortest decimal text."""
    text = _digits(plain(value))
    if not NUMBER.fullmatch(text) or not text.strip("0."):
        raise FieldError("rate", A_RATE, shown(value))
    whole, _, fraction = text.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _digits(value: object) -> str:
    match value:
        case str():
            return value
        case bool():
            return ""
        case float():
            return format(Decimal(repr(value)), "f")
        case int() if abs(value) < LARGEST:
            return str(value)
        case Decimal():
            return format(value, "f")
    return ""
