"""Money: decimal major units of a currency become an integer number of its minor units, exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

from features.events import MAX_AMOUNT

_BY_DIGITS = {
    0: ("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    2: (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD "
        "CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL "
        "GHS GIP GMD GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR "
        "LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB "
        "PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP "
        "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG "
        "ZWL"
    ),
    3: ("BHD IQD JOD KWD LYD OMR TND"),
    4: ("CLF UYW"),
}
EXPONENTS: dict[str, int] = {code: digits for digits, codes in _BY_DIGITS.items() for code in codes.split()}
"""ISO 4217 code -> decimal digits of its minor unit. Codes without one (gold, test) are no currency here."""

NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
EXPECTED = "a decimal number in major units, such as 57.16"
TOO_LARGE = f"an amount below {MAX_AMOUNT:.1e} minor units"

_SCALES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_EXACT = float(1 << 45)  # below this, multiplying a float by 10**4 at most is off by less than .01
_CLEAR = 0.4  # a scaled float this near to an integer surely rounds as its decimal does
_CONTEXT = Context(prec=400, rounding=ROUND_HALF_EVEN)


class AmountError(ValueError):
    """A value that is no amount; the text says what was expected."""


def exponent(currency: str) -> int:
    """The decimal digits of a currency's minor unit; KeyError for an unknown code.

    >>> exponent("EUR"), exponent("JPY")
    (2, 0)
    """
    return EXPONENTS[currency]


def to_minor(value: object, digits: int) -> int:
    """An amount in major units as minor units with so many decimal digits, half to even.

    A float means its shortest decimal text. Raises AmountError for anything but a finite number or its
    text, and for amounts of MAX_AMOUNT or more.

    >>> to_minor(57.16, 2), to_minor("0.125", 2), to_minor(-3, 2)
    (5716, 12, -300)
    """
    if type(value) is float:
        scaled = value * _SCALES[digits]
        if -_EXACT < scaled < _EXACT:
            nearest = round(scaled)
            if -_CLEAR < scaled - nearest < _CLEAR:
                return nearest
    elif type(value) is int and -MAX_AMOUNT < value < MAX_AMOUNT:
        return _bounded(value * 10**digits)
    return _bounded(_rounded(_decimal(value), digits))


def to_minor_many(values: Sequence[object], digits: Sequence[int]) -> list[int]:
    """`to_minor` of each value with its digits; without a call where it is a float that clearly rounds.

    Raises AmountError.

    >>> to_minor_many([57.16, "0.125", -3], [2, 2, 0])
    [5716, 12, -3]
    """
    return [
        nearest
        if type(value) is float
        and -_EXACT < (scaled := value * _SCALES[places]) < _EXACT
        and -_CLEAR < scaled - (nearest := round(scaled)) < _CLEAR
        else to_minor(value, places)
        for value, places in zip(values, digits, strict=True)
    ]


def _decimal(value: object) -> Decimal:
    match value:
        case bool():
            raise AmountError(EXPECTED)
        case int() if -MAX_AMOUNT < value < MAX_AMOUNT:
            return Decimal(value)
        case int():
            raise AmountError(TOO_LARGE)
        case float():
            return Decimal(float.__repr__(value))
        case Decimal():
            return value
        case str() if NUMBER.fullmatch(value):
            return Decimal(value)
        case str() if value.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
            raise AmountError("a finite number")
    raise AmountError(EXPECTED)


def _rounded(value: Decimal, digits: int) -> Decimal:
    if not value.is_finite():
        raise AmountError("a finite number")
    if value.adjusted() > 30:  # far above MAX_AMOUNT: not worth scaling
        raise AmountError(TOO_LARGE)
    return value.scaleb(digits, _CONTEXT).to_integral_value(ROUND_HALF_EVEN, _CONTEXT)


def _bounded(minor: Decimal | int) -> int:
    if not -MAX_AMOUNT < minor < MAX_AMOUNT:
        raise AmountError(TOO_LARGE)
    return int(minor)
