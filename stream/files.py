"""History from a file in the order in which it arrived: events, and between them the labels that came.

Memory holds a few batches of rows and the labels that are still to arrive, however long the file is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from features.events import Label, Transaction, to_datetime
from features.faults import FieldError
from features.profile import Profile
from stream.decisions import LabelRecord
from stream.records import ARRIVED, Outgoing
from stream.rows import FileError, Row, count, read
from stream.wire import encode as encode_record

WEEK_US = 7 * 86_400_000_000

OUT_OF_PLACE = 10_000
"""A row so many rows too late in its file is still put in its place."""

PARCEL = 500
"""Records of one parcel, labels included, at most."""

T = TypeVar("T")


class Refused(msgspec.Struct, frozen=True):
    """A row that is no event, and why. It stands where it stood in the file."""

    row: int  # counted from 1, the header not included
    reason: str


class Parcel(NamedTuple):
    """Records on their way to a log: the labels first, then the events.

    A label that comes a little early is not seen before its arrival; one that came late would be missed.
    """

    labels: list[Outgoing]
    events: list[Outgoing]


class Read(NamedTuple):
    """A row and what the profile makes of it."""

    time_us: int  # of a refused row: the time of the one before it
    row: int
    raw: Row
    event: Transaction | Refused
    fraud: bool | None


class EventFile:
    """A parquet, csv or jsonl file of past events, read through a profile."""

    def __init__(
        self,
        path: Path,
        profile: Profile,
        *,
        label_delay_us: int = WEEK_US,
        from_us: int | None = None,
        until_us: int | None = None,
        encode: Callable[[Mapping[str, object]], bytes] = msgspec.json.encode,
        converted: Callable[[Transaction], Transaction] | None = None,
    ) -> None:
        """Read events from `from_us` on and before `until_us`; their labels arrive `label_delay_us` later.

        `encode` makes the bytes of an event's record. `converted` gives an event in the profile's currency, or raises
        FieldError; without it each stays in its own.

        Raises FileError where the file is absent, of no known format, or broken, here or while it is read.
        """
        self.total = count(path)  # rows; None where the format doesn't tell
        self.done = 0  # rows read so far
        self._path = path
        self._profile = profile
        self._delay_us = label_delay_us
        self._from_us = from_us or 0
        self._until_us = until_us
        self._encode = encode
        self._converted = converted

    def events(self) -> Iterator[list[Transaction | Label | Refused]]:
        """The events in time order, each arriving when it happens; a label before the first event after it.

        Events of the same moment stay in the file's order; a label of that moment comes before them. Labels
        that arrive after the last event come at the end.
        """
        event: Callable[[Read], Transaction | Label | Refused] = self._in_one_currency
        return self._merged(event, _label)

    def records(self) -> Iterator[Parcel]:
        """The same as records: events with the fields of their row, less the label; labels as LabelRecord."""
        for batch in self._merged(self._event_record, self._label_record):
            for start in range(0, len(batch), PARCEL):
                parcel = Parcel([], [])
                for is_label, record in batch[start : start + PARCEL]:
                    (parcel.labels if is_label else parcel.events).append(record)
                yield parcel

    def _merged(
        self, event: Callable[[Read], T], label: Callable[[Read, Transaction, int], T]
    ) -> Iterator[list[T]]:
        pending: deque[tuple[int, T]] = deque()
        for reads in self._in_time():
            batch: list[T] = []
            for row in reads:
                while pending and pending[0][0] <= row.time_us:
                    batch.append(pending.popleft()[1])
                batch.append(event(row))
                if row.fraud is not None and isinstance(row.event, Transaction):
                    arrives_us = row.time_us + self._delay_us
                    pending.append((arrives_us, label(row, row.event, arrives_us)))
            yield batch
        yield [each for _, each in pending]

    def _in_time(self) -> Iterator[list[Read]]:
        """The rows of the time asked for, each put in its place among the OUT_OF_PLACE rows before it."""
        held: list[Read] = []
        last_us = 0
        for batch in self._reads():
            held += batch
            held.sort(key=attrgetter("time_us"))
            ready, held = held[:-OUT_OF_PLACE], held[-OUT_OF_PLACE:]
            if ready:
                self._refuse_strays(ready[0], last_us)
                last_us = ready[-1].time_us
                yield self._asked_for(ready)
                if self._until_us is not None and last_us >= self._until_us:
                    return
        self._refuse_strays(held[0], last_us) if held else None
        yield self._asked_for(held)

    def _asked_for(self, reads: list[Read]) -> list[Read]:
        until_us = self._until_us if self._until_us is not None else 1 << 63
        if reads and self._from_us <= reads[0].time_us and reads[-1].time_us < until_us:
            return reads
        return [each for each in reads if self._from_us <= each.time_us < until_us]

    def _refuse_strays(self, first: Read, last_us: int) -> None:
        if first.time_us >= last_us:
            return
        raise FileError(
            f"row {first.row:,} of {self._path} is from {to_datetime(first.time_us).isoformat()}, "
            f"after rows up to {to_datetime(last_us).isoformat()}: more than "
            f"{OUT_OF_PLACE:,} rows out of place. Sort the file by {self._profile.source.time} and try again"
        )

    def _reads(self) -> Iterator[list[Read]]:
        time_us = 0
        for rows in read(self._path):
            batch = []
            for number, raw in enumerate(rows, start=self.done + 1):
                event = self._event(number, raw)
                fraud = None
                if isinstance(event, Transaction):
                    time_us = event.time_us
                    fraud = self._fraud(number, raw)
                batch.append(Read(time_us, number, raw, event, fraud))
            self.done += len(rows)
            yield batch

    def _event(self, number: int, raw: Row) -> Transaction | Refused:
        if isinstance(raw, bytes):
            return Refused(number, "not a JSON object")
        try:
            return self._profile.transaction(raw)
        except FieldError as error:
            return Refused(number, str(error))

    def _in_one_currency(self, read: Read) -> Transaction | Refused:
        """What is refused here has its label all the same, as on the log."""
        if self._converted is None or isinstance(read.event, Refused):
            return read.event
        try:
            return self._converted(read.event)
        except FieldError as error:
            return Refused(read.row, str(error))

    def _fraud(self, number: int, raw: Row) -> bool | None:
        if isinstance(raw, bytes):
            return None
        try:
            return self._profile.fraud(raw)
        except FieldError as error:
            raise FileError(f"row {number:,} of {self._path}, {error}") from error

    def _event_record(self, read: Read) -> tuple[bool, Outgoing]:
        key = self._profile.key(read.event) if isinstance(read.event, Transaction) else None
        raw = read.raw
        if isinstance(raw, bytes):
            return False, Outgoing(key, raw, _arrived(read.time_us))
        label = self._profile.label
        value = {name: field for name, field in raw.items() if name != label}
        return False, Outgoing(key, self._encode(value), _arrived(read.time_us))

    def _label_record(self, read: Read, event: Transaction, arrives_us: int) -> tuple[bool, Outgoing]:
        label = _label(read, event, arrives_us)
        record = LabelRecord(
            label_id=label.label_id,
            event_id=label.event_id,
            label="fraud" if label.fraud else "legitimate",
            source=label.source,
            labelled_at=to_datetime(arrives_us).isoformat(),
        )
        return True, Outgoing(self._profile.key(event), encode_record(record), _arrived(arrives_us))


def _label(read: Read, event: Transaction, arrives_us: int) -> Label:
    return Label(f"file-{event.event_id}", event.event_id, bool(read.fraud), "file", arrives_us)


def _arrived(at_us: int) -> tuple[tuple[str, bytes], ...]:
    return ((ARRIVED, b"%d" % at_us),)
