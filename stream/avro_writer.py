"""Rows of a file as Avro in the registry's wire format: for `weir send --format avro`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from fastavro import schemaless_writer

from stream.avro import Schemas, parsed
from stream.codec import AVRO
from stream.rows import FileError

Coerce = Callable[[Any], object]


class AvroWriter:
    """Writes rows with the newest schema of a topic's subject (``TOPIC-value``)."""

    def __init__(self, schemas: Schemas, topic: str, timezone: str | None = None) -> None:
        """Naive times are in `timezone`. Raises FileError where the registry has no schema for the topic."""
        found = schemas.newest(f"{topic}-value")
        if found is None:
            raise FileError(
                f"the schema registry has no subject {topic}-value: register the events' schema there first"
            )
        self._number = found.number
        self._schema = parsed(found)
        self._head = AVRO + found.number.to_bytes(4, "big")
        zone = ZoneInfo(timezone) if timezone else None
        self._coerce = {field["name"]: _coercion(field["type"], zone) for field in self._schema["fields"]}

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """The record of a row; fields that the schema does not have are left out. Raises FileError."""
        body = io.BytesIO()
        try:
            fitting = {
                name: None if row[name] is None else coerce(row[name])
                for name, coerce in self._coerce.items()
                if name in row
            }
            schemaless_writer(body, self._schema, fitting)
        except Exception as error:  # a value that doesn't fit fails in many ways
            raise FileError(
                f"a row does not fit the Avro schema {self._number}: {type(error).__name__}"
            ) from error
        return self._head + body.getvalue()


def _coercion(schema: Any, zone: ZoneInfo | None) -> Coerce:
    """What makes a file's value (JSON's, or text) one of this schema."""
    if isinstance(schema, list):
        kinds = [each for each in schema if each != "null"]
        return _coercion(kinds[0], zone) if len(kinds) == 1 else lambda value: value
    logical = schema.get("logicalType") if isinstance(schema, Mapping) else None
    kind = schema.get("type") if isinstance(schema, Mapping) else schema
    if logical in ("timestamp-millis", "timestamp-micros"):
        return lambda value: _moment(value, zone)
    coercions: dict[Any, Coerce] = {
        "decimal": lambda value: Decimal(str(value)),
        "date": lambda value: date.fromisoformat(str(value)),
        "local-timestamp-millis": lambda value: datetime.fromisoformat(str(value)).replace(tzinfo=None),
        "local-timestamp-micros": lambda value: datetime.fromisoformat(str(value)).replace(tzinfo=None),
        "time-millis": lambda value: time.fromisoformat(str(value)),
        "time-micros": lambda value: time.fromisoformat(str(value)),
        "int": int,
        "long": int,
        "float": float,
        "double": float,
        "string": str,
    }
    return coercions.get(logical) or coercions.get(kind) or (lambda value: value)


def _moment(value: Any, zone: ZoneInfo | None) -> datetime:
    when = datetime.fromisoformat(str(value))
    if when.tzinfo is None:
        if zone is None:
            raise ValueError("a time without its zone")
        when = when.replace(tzinfo=zone)
    return when
