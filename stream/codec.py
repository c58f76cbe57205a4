"""Bytes become events, or dead letters with a reason; Weir's own records become bytes and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby, starmap
from operator import attrgetter, sub
from typing import TYPE_CHECKING, cast

import msgspec

from features.columns import Columns, text_columns, time_columns
from features.events import Label, Transaction, to_us
from features.faults import FieldError, masked, shortened, shown
from features.profile import Profile
from features.rates import NoRate
from features.readers import Row, text_reader, time_reader
from stream.decisions import LABELS, LabelRecord
from stream.faulty import RecordError, refuse, refuse_repeated
from stream.keyring import Pair
from stream.letters import FIELD, RATE, RECORD, DeadLetter, text_of
from stream.records import ARRIVED, Record
from stream.shapes import MALFORMED, Odd, Shapes, Table
from stream.wire import SCHEMA, WireError, decode, encode

if TYPE_CHECKING:
    from stream.avro import AvroReader
    from stream.rates import Rates

__all__ = ["Codec", "DeadLetter", "Decoded", "RecordError", "WireError", "arrival_us", "decode", "encode"]

MAX_BYTES = 1_000_000
"""A record with a longer value is refused unread."""

AVRO = b"\0"
"""How an Avro record of a schema registry begins; no JSON does."""

WORTH_COLUMNS = 8
"""From so many records on columns cost less than one record after the other."""

PIECE = 32
"""A batch in which something is odd is read in pieces of so many: the others of it are read at once."""

MOST_AT_ONCE = 8_000_000
"""Bytes of values: what JSON says in one byte may take twenty in memory."""

MAX_REASON = 500
MAX_SHAPES = 1_000  # different sets of fields that are remembered
MAX_UNKNOWN = 100  # different unknown fields that are counted by name
OTHERS = "(others)"

LATEST_ARRIVAL_US = to_us(datetime(2200, 1, 1, tzinfo=UTC))

LABEL_FIELDS = frozenset(LabelRecord.__struct_fields__)
VERDICTS = {"fraud": True, "legitimate": False}


Decoded = Transaction | Label | DeadLetter


class Codec:
    """Reads the records of the topics `transactions` and `labels` as one profile maps them."""

    def __init__(
        self,
        profile: Profile,
        *,
        prefix: str = "",
        max_bytes: int = MAX_BYTES,
        avro: AvroReader | None = None,
        rates: Rates | None = None,
    ) -> None:
        """`prefix` is the tenant's, taken off topics.

        With `rates` amounts are converted by those that had arrived; without, each stays in its currency.

        With `avro` a record that begins with a zero byte is read by it; without, it is refused.

        `unknown` counts the fields that were ignored, by name: MAX_UNKNOWN names, the rest under OTHERS.
        """
        self.unknown: Counter[str] = Counter()
        self._transaction = profile.mapper.transaction
        self._transactions = profile.mapper.transactions
        self._known_id, self._known_ids = profile.known_id, profile.mapper.known_ids
        self._fields = profile.source.known
        self._max_ahead_us = profile.max_ahead_us
        self._personal = personal_readers(profile)
        self._key_of = keyed_by_person(profile)
        self._prefix = prefix
        self._max_bytes = max_bytes
        self._avro = avro
        self._rates = rates
        self._json = msgspec.json.Decoder()
        self._shapes = Shapes(), Shapes()  # of transactions, of labels
        self._ignored_of: dict[tuple[str, ...], tuple[str, ...]] = {}

    def decode_many(self, records: Sequence[Record]) -> list[Decoded]:
        """Decode records in order, as `decode` does each; at once where nothing about them is odd.

        Raises what the log raises where rates cannot be read.
        """
        if self._rates is not None:
            self._rates.catch_up()
        if len({record.topic for record in records}) < 2:
            return self._run(records, learn=True)
        runs = groupby(records, attrgetter("topic"))
        return [event for _, run in runs for event in self._run(list(run), learn=True)]

    def _run(self, records: Sequence[Record], *, learn: bool) -> list[Decoded]:
        """Those of one topic. What is odd about one costs its PIECE of the batch the way one by one."""
        fits = sum(len(record.value) for record in records) <= MOST_AT_ONCE
        if fits and len(records) >= WORTH_COLUMNS:
            with suppress(Odd, FieldError, RecordError):  # decode says which, and why
                return self._at_once(records, learn=learn)
        if len(records) <= PIECE:
            return list(map(self.decode, records))
        pieces = [records[start : start + PIECE] for start in range(0, len(records), PIECE)]
        return [event for piece in pieces for event in self._run(piece, learn=not fits)]

    def _at_once(self, records: Sequence[Record], *, learn: bool) -> list[Decoded]:
        """By the column; raises Odd, FieldError or RecordError where one of them must be read by itself."""
        values = [record.value for record in records]
        if max(map(len, values)) > self._max_bytes:
            raise Odd
        arrived_us = arrivals_us(records)
        labels = self._holds_labels(records[0].topic)
        table = self._shapes[labels].read(values, learn=learn)
        events = self._labels(table, arrived_us) if labels else self._events(table, arrived_us)
        known = LABEL_FIELDS if labels else self._fields
        for name, times in table.fields.items():
            if name not in known:
                self._ignored(name, times)
        return [*events]

    def _events(self, table: Table, arrived_us: Sequence[int]) -> Sequence[Transaction]:
        events = self._transactions(table.columns, arrived_us)
        return events if self._rates is None else self._rates.converted_all(events)

    def _holds_labels(self, topic: str) -> bool:
        return topic.endswith(LABELS) and topic.removeprefix(self._prefix) == LABELS

    def decode(self, record: Record) -> Decoded:
        """The event that a record holds, or a dead letter."""
        raw: Row | None = None
        try:
            arrived_us = arrival_us(record)
            raw = self._object(record.value) if self._avro is None else self._either(record, self._avro)
            if self._holds_labels(record.topic):
                return self._label(raw, arrived_us)
            self._count_unknown(raw, self._fields)
            event = self._transaction(raw, arrived_us)
            return event if self._rates is None else self._rates.converted(event)
        except FieldError as error:
            kind = RATE if isinstance(error, NoRate) else FIELD
            return self.dead_letter(record, str(error), kind, self.people(record, raw))
        except RecordError as error:
            return self.dead_letter(record, str(error), RECORD, self.people(record, raw))

    def labelled_at(self, record: Record) -> str:
        """When somebody said so, as the record of a label says it, which `decode` read before."""
        if self._avro is None or record.value[:1] != AVRO:
            return str(_SAID_AT.decode(record.value).labelled_at)
        found = self._avro.row(record.topic, record.value)["labelled_at"]
        return found.isoformat() if isinstance(found, datetime) else str(found)

    def dead_letter(
        self, record: Record, reason: str, kind: str = RECORD, people: tuple[Pair, ...] = ()
    ) -> DeadLetter:
        """A dead letter of a record that is about these people; what could be a card number is masked in the reason."""
        return DeadLetter(
            topic=record.topic.removeprefix(self._prefix),
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            reason=shortened(masked(reason), MAX_REASON),
            at_us=arrival_or_log_us(record),
            kind=kind,
            people=people,
        )

    def people(self, record: Record, raw: Row | None = None) -> tuple[Pair, ...]:
        """Whom a record that cannot be used is about: as its fields say, else as its key does."""
        found = {}
        for name, read in self._personal:
            with suppress(FieldError):
                found[name] = read(raw or {})
        if self._key_of and record.key and not found.get(self._key_of):
            found[self._key_of] = text_of(record.key)
        return tuple((name, value) for name, value in found.items() if value)

    def _either(self, record: Record, avro: AvroReader) -> Row:
        """JSON or Avro, as the first byte says: a topic may hold both while its senders move from one to the other."""
        if record.value[:1] != AVRO:
            return self._object(record.value)
        self._refuse_large(record.value)
        return avro.row(record.topic, record.value)

    def _refuse_large(self, value: bytes) -> None:
        if len(value) > self._max_bytes:
            raise RecordError(f"the record has {len(value):,} bytes; at most {self._max_bytes:,} are read")

    def _object(self, value: bytes) -> Row:
        self._refuse_large(value)
        try:
            raw = self._json.decode(value)
        except MALFORMED as error:
            refuse(value, error)
        if type(raw) is not dict:
            raise RecordError(f"the record is not a JSON object but {shown(raw, personal=True)}")
        if value.count(b'":') != len(raw) or _spaced(value):
            refuse_repeated(
                value
            )  # else each colon that follows a name directly is a field of its own: none is twice
        return cast("Row", raw)

    def _count_unknown(self, raw: Row, known: frozenset[str]) -> None:
        shape = tuple(raw)
        ignored = self._ignored_of.get(shape)
        if ignored is None:
            ignored = tuple(name for name in shape if name not in known)
            if len(self._ignored_of) < MAX_SHAPES:
                self._ignored_of[shape] = ignored
        for name in ignored:
            self._ignored(name, 1)

    def _ignored(self, name: str, times: int) -> None:
        if times:
            counted = name if name in self.unknown or len(self.unknown) < MAX_UNKNOWN else OTHERS
            self.unknown[counted] += times

    def _label(self, raw: Row, arrived_us: int) -> Label:
        self._count_unknown(raw, LABEL_FIELDS)
        if raw.get("v", SCHEMA) != SCHEMA:
            raise FieldError("v", f"the schema version {SCHEMA}", shown(raw["v"]))
        verdict = raw.get("label")
        if not isinstance(verdict, str) or verdict not in VERDICTS:
            raise FieldError("label", '"fraud" or "legitimate"', shown(verdict))
        if _LABELLED_AT(raw) > arrived_us + self._max_ahead_us:
            late = shown(raw["labelled_at"])
            raise FieldError("labelled_at", "a time not after the label's arrival", late)
        reverses = _REVERSES(raw)
        return Label(
            label_id=self._known_id(_LABEL_ID(raw)),
            event_id=self._known_id(_EVENT_ID(raw)),
            fraud=VERDICTS[verdict],
            source=_SOURCE(raw),
            arrived_us=arrived_us,
            reverses=self._known_id(reverses) if reverses else None,
        )

    def _labels(self, table: Table, arrived_us: Sequence[int]) -> Sequence[Label]:
        """Labels by the column; raises Odd, or the FieldError of one of them."""
        columns = Columns(table.columns)
        try:
            frauds = [VERDICTS[verdict] for verdict in cast("Sequence[str]", columns["label"])]
        except (KeyError, TypeError) as error:
            raise Odd from error
        versions = columns["v"] if table.fields.get("v") else [SCHEMA]
        if versions.count(SCHEMA) < len(versions):
            raise Odd
        if max(map(sub, _LABELLED_AT_ALL(columns), arrived_us)) > self._max_ahead_us:
            raise Odd
        label_ids, event_ids, sources, reversed_ids = [read(columns) for read in _IN_LABELS]
        reverses = [self._known_id(each) if each else None for each in reversed_ids]
        known = self._known_ids
        found = (known(label_ids), known(event_ids), frauds, sources, arrived_us, reverses)
        return list(starmap(Label, zip(*found, strict=True)))


def personal_readers(profile: Profile) -> tuple[tuple[str, Callable[[Row], str]], ...]:
    """By personal entity: what reads its value of a row; "" where there is none. They raise FieldError."""
    return tuple(
        (entity.name, text_reader(entity.field, personal=True, optional=True))
        for entity in profile.source.entities
        if entity.personal
    )


def keyed_by_person(profile: Profile) -> str | None:
    """The entity whose values are the records' keys, where it is personal."""
    return profile.partition_by if profile.partition_by in profile.personal else None


class _SaidAt(msgspec.Struct):
    labelled_at: str | int | float


_SAID_AT = msgspec.json.Decoder(_SaidAt)
_LABEL_ID, _EVENT_ID, _SOURCE = text_reader("label_id"), text_reader("event_id"), text_reader("source")
_REVERSES, _LABELLED_AT = text_reader("reverses", optional=True), time_reader("labelled_at")
_IN_LABELS = [*map(text_columns, ("label_id", "event_id", "source")), text_columns("reverses", optional=True)]
_LABELLED_AT_ALL = time_columns("labelled_at")


_TAB, _NEWLINE, _RETURN, _SPACE = b"\t\n\r "


def _spaced(value: bytes) -> bool:
    """Whether white space may stand between a name and its colon."""
    if _NEWLINE in value or _TAB in value or _RETURN in value:
        return True
    return _SPACE in value and value.find(b" :") >= 0


def arrival_us(record: Record) -> int:
    """When a record arrived, in microseconds since 1970: by its header, or the log. Raises RecordError."""
    for name, value in record.headers:
        if name == ARRIVED:
            if not value.isdigit() or len(value) > 18 or int(value) > LATEST_ARRIVAL_US:
                found = shown(value.decode("utf-8", "replace"))
                raise RecordError(f"the header {ARRIVED}: expected microseconds since 1970, found {found}")
            return int(value)
    if record.timestamp_ms < 0:
        raise RecordError(
            f"the record has neither a header {ARRIVED} nor the log's time: its clock is unknown"
        )
    return record.timestamp_ms * 1_000


def arrivals_us(records: Sequence[Record]) -> list[int]:
    """`arrival_us` of each; at once where the header is the only one that they have. Raises RecordError."""
    ordinary = [
        int(value)
        for record in records
        if len(record.headers) == 1
        for name, value in record.headers
        if name == ARRIVED and len(value) <= 18 and value.isdigit()
    ]
    if len(ordinary) == len(records) and max(ordinary) <= LATEST_ARRIVAL_US:
        return ordinary
    return list(map(arrival_us, records))


def arrival_or_log_us(record: Record) -> int:
    """The same; where its header cannot be used, when the log took it."""
    try:
        return arrival_us(record)
    except RecordError:
        return max(0, record.timestamp_ms * 1_000)
