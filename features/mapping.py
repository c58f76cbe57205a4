"""From a source's own fields to a Transaction: the profile's mapping, compiled to readers of one field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import starmap
from operator import sub

import msgspec

from features.columns import (
    Columns,
    amount_columns,
    event_id_columns,
    free_text_columns,
    number_columns,
    text_columns,
    time_columns,
)
from features.events import Transaction
from features.faults import FieldError
from features.readers import (
    Row,
    amount_reader,
    event_id_reader,
    free_text_reader,
    number_reader,
    text_reader,
    time_reader,
)

FORMATS = ("json", "avro")
"""What records may be. With "avro" they are Avro or JSON, as their first byte says."""

HASHED_ID = re.compile(r"~[0-9a-f]{32}")
"""An event's id that stands for a personal one."""


Content = tuple[int, int, str, tuple[str, ...], Mapping[str, str | float]]
"""Of what the digest of an event is made: its time, amount, currency, entities and other fields."""


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
    convert_to: str | None = None  # the currency in which amounts count; None: each in its own
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
    def personal(self) -> frozenset[str]:
        """The fields of theirs that say who somebody is."""
        return frozenset(entity.field for entity in self.entities if entity.personal)

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
        self._id_key = key if source.personal.intersection(source.event_id) else b""
        self._event_id = event_id_reader(source.event_id, source.personal)
        self._time = time_reader(source.time, source.unit, source.timezone)
        self._amount = amount_reader(source.amount, source.currency, source.currency_field)
        self._entities = tuple(
            text_reader(entity.field, personal=entity.personal, optional=entity.optional)
            for entity in source.entities
        )
        self._fields = (
            *((name, free_text_reader(name)) for name in source.texts),
            *((name, number_reader(name)) for name in source.numbers),
        )
        self._columns = _ColumnReaders(source)
        self._time_field = source.time
        self._max_ahead_us = source.max_ahead_us
        self._max_ahead = source.max_ahead
        self._encode = msgspec.msgpack.Encoder().encode
        # Copied, which is cheaper than a new one for each event.
        self._digest = blake2b(digest_size=8, key=key if source.personal else b"").copy

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
        (body,) = self._bodies([(time_us, amount, currency, entities, fields)])
        return Transaction(event_id, time_us, arrived_us, amount, currency, entities, fields, body)

    def transactions(
        self, columns: Mapping[str, Sequence[object]], arrived_us: Sequence[int] | None = None
    ) -> list[Transaction]:
        """The same of many rows at once, given by the column, at a fraction of the cost.

        Raises FieldError where one of the rows cannot be mapped: `transaction` of each says which, and why.
        """
        rows, read = Columns(columns), self._columns
        if not rows.count:
            return []
        event_ids, times_us = read.event_id(rows), read.time(rows)
        arrived_us = times_us if arrived_us is None else arrived_us
        if (ahead_us := max(map(sub, times_us, arrived_us))) > self._max_ahead_us:
            raise self._too_far_ahead(ahead_us, 0)
        amounts, currencies = read.amount(rows)
        entities, fields = read.entities_of(rows), read.fields_of(rows)
        contents = zip(times_us, amounts, currencies, entities, fields, strict=True)
        found = (
            self.known_ids(event_ids),
            times_us,
            arrived_us,
            amounts,
            currencies,
            entities,
            fields,
            self._bodies(contents),
        )
        return list(starmap(Transaction, zip(*found, strict=True)))

    def known_id(self, text: str) -> str:
        """How an event or a label of this id is known: a keyed hash where event ids are made of what is personal.

        Of a hash it is that hash, so that whoever got one from Weir may give it back.
        """
        if not self._id_key or HASHED_ID.fullmatch(text):
            return text
        return "~" + blake2b(text.encode(), digest_size=16, key=self._id_key).hexdigest()

    def known_ids(self, texts: Sequence[str]) -> Sequence[str]:
        """`known_id` of each."""
        return list(map(self.known_id, texts)) if self._id_key else texts

    def _bodies(self, contents: Iterable[Content]) -> list[bytes]:
        """Digests of what events hold."""
        bodies = []
        for content in map(self._encode, contents):
            digest = self._digest()
            digest.update(content)
            bodies.append(digest.digest())
        return bodies

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


class _ColumnReaders:
    """The Mapper's readers, for columns."""

    def __init__(self, source: Source) -> None:
        self.event_id = event_id_columns(source.event_id, source.personal)
        self.time = time_columns(source.time, source.unit, source.timezone)
        self.amount = amount_columns(source.amount, source.currency, source.currency_field)
        self._entities = [
            text_columns(entity.field, personal=entity.personal, optional=entity.optional)
            for entity in source.entities
        ]
        self._names = (*source.texts, *source.numbers)
        self._fields = [*map(free_text_columns, source.texts), *map(number_columns, source.numbers)]

    def entities_of(self, rows: Columns) -> Sequence[tuple[str, ...]]:
        if not self._entities:
            return [()] * rows.count
        return list(zip(*[read(rows) for read in self._entities], strict=True))

    def fields_of(self, rows: Columns) -> Sequence[Mapping[str, str | float]]:
        if not self._fields:
            return [{}] * rows.count
        columns = [read(rows) for read in self._fields]
        return [
            {name: value for name, value in zip(self._names, values, strict=True) if value is not None}
            for values in zip(*columns, strict=True)
        ]
