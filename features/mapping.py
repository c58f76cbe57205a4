"""From a source's own fields to a Transaction: the profile's mapping, compiled to readers of one field."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from hashlib import blake2b
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from features.events import EPOCH, Transaction
from features.faults import FieldError, shown
from features.grammar import meant
from features.money import EXPONENTS, AmountError, to_minor

Row = Mapping[str, object]
"""One event as its source gives it: field -> value, from JSON or from a file's columns."""

NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
NO_TIME = timedelta(0)

MAX_TEXT = 256
"""Ids and entity values have at most so many characters."""

FORMATS = ("json", "avro")
"""What records may be. With "avro" they are Avro or JSON, as their first byte says."""

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Units of epoch times -> microseconds."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)

HASHED_ID = re.compile(r"~[0-9a-f]{32}")
"""An event's id that stands for a personal one."""

AN_ID = "a text or a whole number"
_FRAUD = frozenset({"1", "true", "fraud"})
_LEGITIMATE = frozenset({"0", "false", "legitimate"})


class EntitySource(msgspec.Struct, frozen=True):
    """Where an entity's value comes from."""

    name: str
    field: str
    optional: bool = False  # an event may lack it: its value is "" then
    personal: bool = False  # never quoted in a reason


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """How a source's fields map to ours: the [source] and [entities] tables of a profile."""

    format: str = "json"  # of the records on the log: one of FORMATS
    event_id: tuple[str, ...]  # several are joined with "-"
    time: str
    unit: str | None = None  # of epoch times: a key of UNITS; None: ISO 8601 text
    timezone: str | None = None  # of naive times; None: they are refused
    amount: str
    currency: str = ""  # one code for all events
    currency_field: str | None = None  # or the field that holds it
    entities: tuple[EntitySource, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    label: str | None = None  # files only, never a feature
    max_ahead: str = "1h"
    max_ahead_us: int = 3_600_000_000

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field of theirs that an event is made of, once each; the label is not among them."""
        named = [*self.event_id, self.time, self.amount, *(entity.field for entity in self.entities)]
        named += [self.currency_field] if self.currency_field else []
        return tuple(dict.fromkeys([*named, *self.texts, *self.numbers]))

    @property
    def known(self) -> frozenset[str]:
        """The fields that mean anything: `fields` and the label."""
        return frozenset(self.fields) | ({self.label} if self.label else frozenset())


class Mapper:
    """A Source, compiled."""

    def __init__(self, source: Source, key: bytes = b"") -> None:
        """Build one reader per field; after this no mapping looks at the Source again.

        Where something is personal, `key` (at most 64 bytes) keys the digest of the content, from which it could be
        guessed otherwise, and the ids that are made of it.
        """
        personal = {entity.field for entity in source.entities if entity.personal}
        self._id_key = key if personal.intersection(source.event_id) else b""
        self._event_id = _event_id_reader(source.event_id, personal)
        self._time = time_reader(source.time, source.unit, source.timezone)
        self._amount = _amount_reader(source)
        self._entities = tuple(
            text_reader(entity.field, personal=entity.personal, optional=entity.optional)
            for entity in source.entities
        )
        self._fields = (
            *((name, _free_text_reader(name)) for name in source.texts),
            *((name, _number_reader(name)) for name in source.numbers),
        )
        self._time_field = source.time
        self._max_ahead_us = source.max_ahead_us
        self._max_ahead = source.max_ahead
        self._encode = msgspec.msgpack.Encoder().encode
        # Copied, which is cheaper than a new one for each event.
        self._digest = blake2b(digest_size=8, key=key if personal else b"").copy

    def transaction(self, row: Row, arrived_us: int | None = None) -> Transaction:
        """The event that a row holds; without `arrived_us` it arrives when it happens. Raises FieldError."""
        event_id = self._event_id(row) if not self._id_key else self.known_id(self._event_id(row))
        time_us = self._time(row)
        if arrived_us is None:
            arrived_us = time_us
        elif time_us > arrived_us + self._max_ahead_us:
            raise self._too_far_ahead(time_us, arrived_us)
        amount, currency = self._amount(row)
        entities = tuple([read(row) for read in self._entities])
        fields = self._other(row) if self._fields else {}
        digest = self._digest()
        digest.update(self._encode((time_us, amount, currency, entities, fields)))
        return Transaction(event_id, time_us, arrived_us, amount, currency, entities, fields, digest.digest())

    def transactions(
        self, columns: Mapping[str, Sequence[object]], arrived_us: Sequence[int] | None = None
    ) -> Iterator[Transaction | FieldError]:
        """The events of a file's columns, in order; a row that cannot be mapped gives its FieldError."""
        names = tuple(columns)
        for number, values in enumerate(zip(*columns.values(), strict=True)):
            try:
                yield self.transaction(
                    dict(zip(names, values, strict=True)), arrived_us[number] if arrived_us else None
                )
            except FieldError as error:
                yield error

    def known_id(self, text: str) -> str:
        """How an event or a label of this id is known: a keyed hash where event ids are made of what is personal.

        Of a hash it is that hash, so that whoever got one from Weir may give it back.
        """
        if not self._id_key or HASHED_ID.fullmatch(text):
            return text
        return "~" + blake2b(text.encode(), digest_size=16, key=self._id_key).hexdigest()

    def _other(self, row: Row) -> dict[str, str | float]:
        fields: dict[str, str | float] = {}
        for name, read in self._fields:
            value = read(row)
            if value is not None:
                fields[name] = value
        return fields

    def _too_far_ahead(self, time_us: int, arrived_us: int) -> FieldError:
        hours = (time_us - arrived_us) / 3_600_000_000
        return FieldError(
            self._time_field,
            f"a time at most {self._max_ahead} after the event's arrival ([source] max_ahead)",
            f"one {hours:,.1f} hours after it",
        )


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


def _event_id_reader(fields: Sequence[str], personal: set[str]) -> Callable[[Row], str]:
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
    zone = _zone(timezone)
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
    """Microseconds, from the parts: `replace` and dividing a timedelta would cost three times as much."""
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
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


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


def _zone(name: str | None) -> tzinfo | None:
    return UTC if name == "UTC" else ZoneInfo(name) if name else None


def _amount_reader(source: Source) -> Callable[[Row], tuple[int, str]]:
    field = source.amount
    if source.currency_field:
        return _in_own_currency(field, source.currency_field)
    currency, digits = source.currency, EXPONENTS[source.currency]

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


def _free_text_reader(field: str) -> Callable[[Row], str | None]:
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


def _number_reader(field: str) -> Callable[[Row], float | None]:
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
