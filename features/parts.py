"""Parts of an entity: all of its events, those where a field has a value, those that share this event's value of a field.

A part has logs of its own. An event is answered for every part that it has a key in; it is a record of those that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from features.catalogue import CURRENCY, DAY_US, HOUR_OF_DAY, HOUR_US, WEEKDAY, Feature
from features.events import Transaction

Text = Callable[[Transaction], str]
"""Reads a field of an event; "" where it has none."""


class Part(msgspec.Struct, frozen=True):
    """Which events of an entity are looked at."""

    entity: str
    where: tuple[str, str] = ("", "")  # only those whose field has this value
    same: tuple[str, ...] = ()  # only those that have this event's values of these fields

    @property
    def name(self) -> str:
        """What tells it from the entity's other parts: "" for all events."""
        field, value = self.where
        return "" if not field and not self.same else "\0".join((field, value, *self.same))


def part_of(feature: Feature) -> Part:
    """The part that a feature looks at."""
    return Part(feature.entity, feature.where, feature.same)


def text_reader(field: str, entities: Sequence[str], local: Callable[[int], int]) -> Text:
    """Reads an entity, a mapped text, or what an event has by its time (`local`: UTC to the wall clock) or its amount."""
    if field in entities:
        index = list(entities).index(field)
        return lambda event: event.entities[index]
    if field == HOUR_OF_DAY:
        return lambda event: str(local(event.time_us) % DAY_US // HOUR_US)
    if field == WEEKDAY:  # 0: Monday; 1970 began on a Thursday
        return lambda event: str((local(event.time_us) // DAY_US + 3) % 7)
    if field == CURRENCY:
        return lambda event: event.currency
    return lambda event: str(event.fields.get(field, ""))


def category(text: str, size: int) -> int:
    """Which of `size` numbers stands for a text: the same in every process; 0 for none, which no text shares.

    >>> category("", 64), category("FR", 64), category("DE", 64)
    (0, 6, 60)
    """
    digest = blake2b(text.encode(), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "little") % (size - 1) if text else 0
