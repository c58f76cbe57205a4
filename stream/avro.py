"""Avro in the registry's wire format (a zero byte, the schema's number in four, the body) as plain rows.

The writer's schema is the one whose number the record carries. It is resolved to the newest schema of the topic's subject
(``TOPIC-value``), looked up again whenever a number comes that was not seen before: so old records get the defaults of new
fields and the new names of old ones. Where the topic has no subject of that name, rows are as their writer wrote them.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from datetime import time
from decimal import Decimal
from typing import Any, Protocol, cast
from uuid import UUID

from fastavro import parse_schema, schemaless_reader

from features.faults import FieldError
from features.readers import Row
from stream.faulty import RecordError
from stream.registry import Registered

HEAD = 5
"""Bytes before the body: a zero, and the schema's number."""

Schema = dict[str, Any]


class Schemas(Protocol):
    """Where schemas come from."""

    def by_number(self, number: int) -> Registered | None:
        """The schema of a number; None where there is none."""
        ...

    def newest(self, subject: str) -> Registered | None:
        """A subject's newest schema; None where there is no such subject."""
        ...


class AvroReader:
    """Reads Avro records as rows."""

    def __init__(self, schemas: Schemas) -> None:
        """Asks `schemas` once for each number and, then, for the topic's newest."""
        self._schemas = schemas
        self._writers: dict[int, Schema] = {}
        self._readers: dict[str, tuple[int, Schema] | None] = {}
        self._seen: set[tuple[str, int]] = set()

    def row(self, topic: str, value: bytes) -> Row:
        """The fields of a record; raises RecordError or FieldError for one that cannot be read."""
        if len(value) < HEAD:
            raise RecordError("the record ends within the number of its Avro schema")
        number = int.from_bytes(value[1:HEAD], "big")
        writer = self._writer(number)
        reader = self._reader(topic, number)
        body = io.BytesIO(value[HEAD:])
        try:
            row = schemaless_reader(body, writer, None if reader is None else reader)
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # bytes that don't fit a schema fail in many ways, all of them this record's
            raise RecordError(f"not a record of the Avro schema {number}: {_told(error)}") from error
        left = len(value) - HEAD - body.tell()
        if left:
            raise RecordError(f"{left} bytes follow the record of the Avro schema {number}")
        return _plain(cast("dict[str, object]", row))

    def _writer(self, number: int) -> Schema:
        if number not in self._writers:
            found = self._schemas.by_number(number)
            if found is None:
                raise RecordError(f"the schema registry knows no schema {number}")
            self._writers[number] = parsed(found)
        return self._writers[number]

    def _reader(self, topic: str, number: int) -> Schema | None:
        """What to resolve to; None where that is what was written."""
        if (topic, number) not in self._seen:
            newest = self._schemas.newest(f"{topic}-value")
            self._readers[topic] = None if newest is None else (newest.number, parsed(newest))
            self._seen.add((topic, number))
        reader = self._readers[topic]
        return None if reader is None or reader[0] == number else reader[1]


def parsed(found: Registered) -> Schema:
    """A record's schema, compiled; raises RecordError for one that cannot be used."""
    if found.kind != "AVRO":
        raise RecordError(f"the schema {found.number} is {found.kind}, not Avro")
    named: dict[str, Any] = {}
    try:
        for each in _with_references(found):
            made = parse_schema(json.loads(each.schema), named_schemas=named)
    except Exception as error:
        raise RecordError(f"the schema {found.number} is no Avro that can be read: {_told(error)}") from error
    if not isinstance(made, dict) or made.get("type") != "record":
        raise RecordError(f"the Avro schema {found.number} is no record")
    _refuse_endless(found.number, made)
    return made


def _with_references(found: Registered) -> list[Registered]:
    """A schema behind those it refers to, each once."""
    ordered: dict[int, Registered] = {}
    for each in found.references:
        ordered.update((inner.number, inner) for inner in _with_references(each))
    ordered[found.number] = found
    return list(ordered.values())


def _refuse_endless(number: int, schema: object) -> None:
    """Lists of what takes no bytes: a few bytes of a record could become a list without end."""
    if isinstance(schema, list):
        for each in schema:
            _refuse_endless(number, each)
    elif isinstance(schema, Mapping):
        if schema.get("type") == "array" and _takes_nothing(schema.get("items")):
            raise RecordError(
                f"the Avro schema {number} has a list of what takes no bytes, and such lists may be endless"
            )
        for each in (
            schema.get("type"),
            schema.get("items"),
            schema.get("values"),
            *schema.get("fields", ()),
        ):
            _refuse_endless(number, each)


def _takes_nothing(schema: object) -> bool:
    if isinstance(schema, Mapping):
        kind = schema.get("type")
        fields = [field.get("type") for field in schema.get("fields", ())]
        return (
            (kind == "record" and all(map(_takes_nothing, fields)))
            or (kind == "fixed" and schema.get("size") == 0)
            or _takes_nothing(kind)
        )
    return schema == "null"


def _plain(row: dict[str, object]) -> Row:
    """Values as JSON, or Python's own times, would hold them; decimals as their exact text."""
    for name, value in row.items():
        convert = _CONVERSIONS.get(type(value))
        if convert is not None:
            row[name] = convert(name, value)
    return row


def _finite(name: str, value: Any) -> float:
    if not math.isfinite(value):
        raise FieldError(name, "a finite number", "NaN" if math.isnan(value) else "Infinity")
    return float(value)


_CONVERSIONS: dict[type, Callable[[str, Any], object]] = {
    Decimal: lambda _, value: format(value, "f"),
    UUID: lambda _, value: str(value),
    time: lambda _, value: value.isoformat(),
    float: _finite,
}


def _told(error: Exception) -> str:
    """An error in short: fastavro quotes whole schemas, and what it quotes of a record may be personal."""
    text = str(error).partition(":")[0].partition("{")[0].strip()
    return f"{type(error).__name__}" + (
        f" ({text[:100]})" if text and type(error).__module__.startswith("fastavro") else ""
    )
