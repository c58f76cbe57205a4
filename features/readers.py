"""Readers of one field of a row: what a source writes becomes what we hold, or a FieldError that says what is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np

from features.events import EPOCH, NAIVE_EPOCH, microseconds
from features.faults import FieldError, shown
from features.grammar import meant
from features.money import EXPONENTS, AmountError, to_minor

Row = Mapping[str, object]
"""One event as its source gives it: field -> value, from JSON or from a file's columns."""

NO_TIME = timedelta(0)

MAX_TEXT = 256
"""Ids and entity values have at most so many characters."""

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Units of epoch times -> microseconds."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)

AN_ID = "a text or a whole number"
_FRAUD = frozenset({"1", "true", "fraud"})
_LEGITIMATE = frozenset({"0", "false", "legitimate"})


def text_reader(field: str, *, personal: bool = False, optional: bool = False) -> Callable[[Row], str]:
    """A reader of an id or an entity's value: a text without control characters, or a whole number.

    It has at most MAX_TEXT characters. Where the field is missing, null or empty, an `optional` one
    reads as "". The reader raises FieldError.
    """

    def read(row: Row) -> str:
        value = row.get(field)
        if type(value) is str and 0 < len(value) <= MAX_TEXT and value.isprintable():
            return value
        if type(value) is int and -(1 << 63) <= value < (1 << 64):
            return str(value)
        return _unusual_text(field, plain(value), personal=personal, optional=optional)

    return read


def _unusual_text(field: str, value: object, *, personal: bool, optional: bool) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))  # a whole number in a column that has gaps
    if value is None or value == "":
        if optional:
            return ""
        raise FieldError(field, AN_ID, "nothing")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise FieldError(field, AN_ID, shown(value, personal=personal))
    if len(value) > MAX_TEXT:
        raise FieldError(field, f"at most {MAX_TEXT} characters", str(len(value)))
    if CONTROL.search(value):
        raise FieldError(field, f"{AN_ID} without control characters", shown(value, personal=personal))
    return value


def event_id_reader(fields: Sequence[str], personal: Set[str]) -> Callable[[Row], str]:
    """A reader of an id of one field, or of several that are joined with "-". The reader raises FieldError."""
    readers = [text_reader(field, personal=field in personal) for field in fields]
    if len(readers) == 1:
        return readers[0]

    def read(row: Row) -> str:
        joined = "-".join([reader(row) for reader in readers])
        if len(joined) > MAX_TEXT:
            raise FieldError("+".join(fields), f"an id of at most {MAX_TEXT} characters", str(len(joined)))
        return joined

    return read


def time_reader(field: str, unit: str | None = None, timezone: str | None = None) -> Callable[[Row], int]:
    """A reader of a time, in microseconds since 1970: ISO 8601 text, a datetime, or (`unit`) an epoch number.

    Naive times are in `timezone`; where clocks are set back the first of the two hours is meant. Without a
    zone they are refused. The reader raises FieldError.
    """
    zone = zone_of(timezone)
    scale = UNITS[unit] if unit else None
    wanted = (
        f"a number of {unit} since 1970" if unit else "a time as ISO 8601 text, such as 2018-04-01T00:00:31Z"
    )

    def read(row: Row) -> int:
        value = row.get(field)
        if type(value) is str and scale is None:
            try:
                value = datetime.fromisoformat(value)
            except ValueError as error:
                raise FieldError(field, wanted, shown(value)) from error
        if type(value) is not datetime:
            return _unusual_time(field, plain(value), scale, zone, wanted)
        return _since_1970(field, value, zone)

    return read


def _unusual_time(field: str, value: object, scale: int | None, zone: tzinfo | None, wanted: str) -> int:
    if isinstance(value, date):
        return _since_1970(field, _datetime(value), zone)
    number = _epoch_number(value) if scale else None
    if number is None or scale is None:
        raise FieldError(field, wanted, shown(value))
    if not 0 <= number < (1 << 62) // scale:
        raise FieldError(field, f"{wanted}, of this age", shown(value))
    return round(number * scale)


def _since_1970(field: str, when: datetime, zone: tzinfo | None) -> int:
    """Microseconds, without `replace`, which would cost as much again."""
    if when.tzinfo is not None:
        since = when - EPOCH
    elif zone is UTC:
        since = when - NAIVE_EPOCH
    elif zone is not None:
        since = when - NAIVE_EPOCH - (zone.utcoffset(when) or NO_TIME)
    else:
        raise _naive(field, when)
    if since.days < 0:
        raise FieldError(field, "a time after 1970", when.isoformat())
    return microseconds(since)


def _datetime(value: date) -> datetime:
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return datetime(
        value.year,
        value.month,
        value.day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
    )  # of a subclass (pandas') with arithmetic of its own


def _epoch_number(value: object) -> int | float | None:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value) if any(mark in value for mark in ".eE") else int(value)
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _naive(field: str, when: datetime) -> FieldError:
    mend = "a time with its zone, such as 2018-04-01T00:00:31Z (or the profile names it: [source] timezone)"
    return FieldError(field, mend, shown(when.isoformat()))


def zone_of(name: str | None) -> tzinfo | None:
    """The zone of a name, if there is one; UTC itself for "UTC"."""
    return UTC if name == "UTC" else ZoneInfo(name) if name else None


def amount_reader(
    field: str, currency: str, currency_field: str | None = None
) -> Callable[[Row], tuple[int, str]]:
    """A reader of an amount, in minor units, and its currency: of one code, or of the code in `currency_field`.

    The reader raises FieldError.
    """
    if currency_field:
        return _in_own_currency(field, currency_field)
    digits = EXPONENTS[currency]

    def read(row: Row) -> tuple[int, str]:
        return _minor(field, row.get(field), digits), currency

    return read


def _in_own_currency(field: str, currency_field: str) -> Callable[[Row], tuple[int, str]]:
    def read(row: Row) -> tuple[int, str]:
        currency = row.get(currency_field)
        digits = EXPONENTS.get(currency) if isinstance(currency, str) else None
        if digits is None or not isinstance(currency, str):
            raise _unknown_currency(currency_field, plain(currency))
        return _minor(field, row.get(field), digits), str(currency)

    return read


def _unknown_currency(field: str, value: object) -> FieldError:
    hint = meant(value.strip().upper(), tuple(EXPONENTS)) if isinstance(value, str) else ""
    return FieldError(field, "an ISO 4217 currency code, such as EUR", shown(value) + hint)


def _minor(field: str, value: object, digits: int) -> int:
    try:
        return to_minor(value, digits)
    except AmountError as error:
        ordinary = plain(value, gaps=False)
        if ordinary is not value:
            return _minor(field, ordinary, digits)
        raise FieldError(field, str(error), shown(value)) from error


def free_text_reader(field: str) -> Callable[[Row], str | None]:
    """A reader of a text of any length, None where there is none. The reader raises FieldError."""

    def read(row: Row) -> str | None:
        value = row.get(field)
        if type(value) is not str:
            value = plain(value)
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = _unusual_text(field, value, personal=False, optional=True)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise FieldError(field, "a text", shown(value))
        if not value.isprintable() and CONTROL_IN_TEXT.search(value):
            raise FieldError(field, "a text without control characters", shown(value))
        return value

    return read


def number_reader(field: str) -> Callable[[Row], float | None]:
    """A reader of a finite number, None where there is none. The reader raises FieldError."""

    def read(row: Row) -> float | None:
        value = plain(row.get(field))
        if value is None or value == "":
            return None
        if isinstance(value, str) and not NUMBER.fullmatch(value):
            raise FieldError(field, "a number", shown(value))
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            raise FieldError(field, "a number", shown(value))
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise FieldError(field, "a finite number", shown(value))
        return number

    return read


def fraud_of(field: str, row: Row) -> bool | None:
    """What a file's label field says: fraud or not, None for nothing. Raises FieldError for anything else."""
    value = plain(row.get(field))
    text = _unusual_text(
        field, int(value) if isinstance(value, bool) else value, personal=False, optional=True
    )
    text = text.lower()
    if text in _FRAUD or text in _LEGITIMATE:
        return text in _FRAUD
    if text == "":
        return None
    raise FieldError(field, "1, true or fraud; 0, false or legitimate; or nothing", shown(text))


def plain(value: object, *, gaps: bool = True) -> object:
    """A file's value as Python's own: numpy scalars unwrapped; with `gaps` NaN and NaT are None."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    if gaps and value != value:  # NaN, NaT: how a file's column says "nothing"
        return None
    return value
