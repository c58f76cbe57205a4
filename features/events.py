"""The events that flow through Weir: what happened, and what was later said of it.

Times are integer microseconds since 1970 in UTC inside the hot path and aware ``datetime`` objects at its edges;
money is an integer number of minor units and an ISO 4217 currency, never a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH = EPOCH.replace(tzinfo=None)  # for times that are known to be in UTC

MAX_AMOUNT = 1 << 62
"""No amount's absolute value, in minor units, reaches this."""


class Converted(msgspec.Struct, frozen=True, gc=False):
    """What an amount was before it was converted, and by which rate."""

    amount: int  # minor units of `currency`
    currency: str  # ISO 4217
    rate: str  # major units of the event's currency for one of `currency`: decimal digits
    at_us: int  # of when the rate is


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """One payment (or claim, or login) as the profile maps it."""

    event_id: str
    time_us: int  # when it happened, by its own clock
    arrived_us: int  # when the log took it: the clock of every window and label
    amount: int  # minor units of `currency`; negative for a refund
    currency: str  # ISO 4217
    entities: tuple[str, ...]  # one value per entity, in the profile's order; "" where the event names none
    fields: Mapping[str, str | float]  # the profile's other mapped fields: texts and numbers
    body: bytes  # 8-byte digest of the mapped content: the same id with another body is refused
    converted: Converted | None = None  # where its currency was another; the digest is of what came

    @property
    def time(self) -> datetime:
        """When it happened, as an aware UTC time."""
        return to_datetime(self.time_us)


class Label(msgspec.Struct, frozen=True, gc=False):
    """What somebody (an analyst, a chargeback) said of an event, effective from its arrival."""

    label_id: str
    event_id: str
    fraud: bool
    source: str  # who says so: "analyst", "chargeback", "simulator", ...
    arrived_us: int  # labels count from here, whenever the event was
    reverses: str | None = None  # the label_id that this one takes back and replaces


Event = Transaction | Label


def to_datetime(us: int) -> datetime:
    """Microseconds since 1970 as an aware UTC time.

    >>> to_datetime(1_500_000).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    return EPOCH + timedelta(microseconds=us)


def to_us(when: datetime) -> int:
    """An aware time as microseconds since 1970; a naive one is a ValueError, since its zone is anyone's guess.

    >>> to_us(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    if when.tzinfo is None:
        raise ValueError(
            f"the time {when.isoformat()} has no zone; name one in the profile ([source] timezone)"
        )
    return microseconds(when - EPOCH)


def microseconds(span: timedelta) -> int:
    """How long a span is, from its parts: to divide it would cost three times as much."""
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
