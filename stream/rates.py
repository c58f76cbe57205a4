"""Rates of exchange on their way: from a file to the topic `rates`, and from there to whoever converts amounts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from features.events import Transaction, to_datetime
from features.faults import FieldError, shown
from features.mapping import Source
from features.profile import Profile
from features.rates import Rate, RateTable, rate_reader
from features.readers import time_reader
from stream.codec import arrival_us
from stream.config import ConfigError
from stream.faulty import RecordError
from stream.records import ARRIVED, Outgoing, Record, Tail
from stream.rows import FileError, read
from stream.wire import SCHEMA

logger = logging.getLogger(__name__)

NOTHING_CONVERTED = (
    "the profile converts nothing: name a currency in [source] convert_to, or leave out --rates"
)
"""Rates that nothing asks for are a mistake."""


class RateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A rate as it stands on the wire."""

    currency: str
    to: str
    rate: str
    at: str  # ISO 8601
    v: int = SCHEMA


def table_for(source: Source) -> RateTable | None:
    """An empty table for what a profile converts into; None where each amount stays in its own currency."""
    if source.convert_to is None:
        return None
    return RateTable(source.convert_to, source.currency_field or "currency", source.amount)


class Rates:
    """The rates of the topic `rates`, read up to its end whenever a batch is to be decoded."""

    def __init__(self, table: RateTable, open_tail: Callable[[], Tail], timezone: str | None = None) -> None:
        """Opens the topic when it is first asked; naive times are in `timezone`."""
        self.refused = 0
        self._table, self._open_tail = table, open_tail
        self._read = rate_reader(timezone)
        self._decode = msgspec.json.Decoder(dict[str, object]).decode
        self._tail: Tail | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many rates are known."""
        return len(self._table)

    def newest_by_currency(self) -> dict[str, int]:
        """`RateTable.newest_by_currency`."""
        return self._table.newest_by_currency()

    def catch_up(self) -> None:
        """Know every rate that stands on the log by now; raises what the log raises."""
        with self._lock:
            if self._tail is None:
                self._tail = self._open_tail()
            for record in self._tail.catch_up():
                self._take(record)

    def _take(self, record: Record) -> None:
        """A rate that cannot be used is told of here, and is no dead letter: every scorer reads each."""
        try:
            self._table.add(self._rate(record))
        except (FieldError, RecordError) as error:
            self.refused += 1
            logger.error(
                "the rate at %s[%d]@%d is refused: %s", record.topic, record.partition, record.offset, error
            )

    def _rate(self, record: Record) -> Rate:
        try:
            row = self._decode(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RecordError("the record is no JSON object") from error
        if row.get("v", SCHEMA) != SCHEMA:
            raise FieldError("v", f"the schema version {SCHEMA}", shown(row["v"]))
        return self._read(row, arrival_us(record))

    def converted(self, event: Transaction) -> Transaction:
        """`RateTable.converted`."""
        return self._table.converted(event)

    def converted_all(self, events: Sequence[Transaction]) -> list[Transaction]:
        """`RateTable.converted_all`."""
        return self._table.converted_all(events)

    def close(self) -> None:
        """Give back the connection."""
        with self._lock:
            if self._tail is not None:
                self._tail.close()
                self._tail = None


def rates_of(path: Path, timezone: str | None = None) -> Iterator[tuple[Rate, bool]]:
    """A file's rates (parquet, csv, jsonl), and of each whether it says when it arrived; one that does not arrived when it was.

    Raises FileError for a file or a row that cannot be used: rates are few, and a wrong one is worse than none.
    """
    read_rate, read_arrival = rate_reader(timezone), time_reader("arrived", timezone=timezone)
    for number, row in enumerate(chain.from_iterable(read(path)), start=1):
        if isinstance(row, bytes):
            raise FileError(f"row {number:,} of {path} is not a JSON object")
        told = row.get("arrived") not in (None, "")
        try:
            rate = read_rate(row, 0)
            arrived_us = read_arrival(row) if told else rate.at_us
        except FieldError as error:
            raise FileError(f"row {number:,} of {path}, {error}") from error
        yield msgspec.structs.replace(rate, arrived_us=arrived_us), told


def known_from(path: Path, table: RateTable, timezone: str | None = None) -> RateTable:
    """The table with a file's rates in it. Raises FileError."""
    for rate, _ in rates_of(path, timezone):
        table.add(rate)
    return table


def converter(profile: Profile, rates: Path | None) -> Callable[[Transaction], Transaction] | None:
    """What converts a file's events by the `rates` of another, where the profile asks for it.

    Raises ConfigError where it asks and none are named, or none are asked for; FileError.
    """
    table = table_for(profile.source)
    if table is None:
        if rates:
            raise ConfigError(NOTHING_CONVERTED)
        return None
    if rates is None:
        raise ConfigError(
            f"the profile converts into {table.to}: name the rates that had arrived with --rates FILE"
        )
    return known_from(rates, table, profile.timezone).converted


def outgoing(rate: Rate, *, on_its_own_clock: bool) -> Outgoing:
    """A rate for the log. One that is not on a clock of its own arrives when the log takes it.

    A key is a pair and a time, so that of a compacted topic every rate stays that was not corrected.
    """
    record = RateRecord(
        currency=rate.currency, to=rate.to, rate=rate.rate, at=to_datetime(rate.at_us).isoformat()
    )
    key = f"{rate.currency}/{rate.to}@{record.at}".encode()
    headers: Mapping[str, bytes] = {ARRIVED: b"%d" % rate.arrived_us} if on_its_own_clock else {}
    return Outgoing(key, msgspec.json.encode(record), tuple(headers.items()))
