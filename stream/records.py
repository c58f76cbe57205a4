"""What travels on a log, whichever log it is: records in, records out, and where a record stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

ARRIVED = "arrived"
"""Header: when the event arrived, ASCII digits, microseconds since 1970. The clock of every window.

Without it the log's own time of the append counts."""

MUCH, MUCH_BYTES = 500, 500_000
"""Records, or bytes of their values, of a fetch behind which more must lie."""


class TP(NamedTuple):
    """A topic's partition."""

    topic: str
    partition: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as a log gave it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int  # when the log took it


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record on its way to a log."""

    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def much(fetched: Sequence[Any]) -> bool:
    """Whether these records, ours or a client's, are so many that a fetch will not have found the end of the log.

    >>> much([Outgoing(None, b"little")])
    False
    """
    return len(fetched) >= MUCH or sum(len(record.value or b"") for record in fetched) >= MUCH_BYTES


class Publisher(Protocol):
    """The synchronous way into a log, for everything outside the Faust app (send, review, simulator, dead-letter replay)."""

    def publish(self, topic: str, records: Sequence[Outgoing]) -> None:
        """Append all records, partitioned by key; returns when they are durable, raises if any is not."""
        ...

    def close(self) -> None:
        """Give back files and connections."""
        ...


class Tail(Protocol):
    """Reads one topic from its beginning on and then follows it, outside any consumer group."""

    def read(self) -> list[Record]:
        """The next records, waiting a moment for them; raises what the log raises, and may be asked again then."""
        ...

    def catch_up(self) -> list[Record]:
        """All that stands there by now and was not read yet, without waiting for more; raises what the log raises."""
        ...

    def at_end(self) -> bool:
        """Whether all was read that stood there when the tail was made or last rewound."""
        ...

    def rewind(self) -> None:
        """Begin anew at the beginning."""
        ...

    def close(self) -> None:
        """Give back files and connections."""
        ...


class LogReader(Protocol):
    """A place in a log, for those who read it outside any consumer group."""

    @property
    def positions(self) -> Mapping[TP, int]:
        """By partition: the offset behind what was read."""
        ...

    def fetch(self, max_records: int) -> list[Record]:
        """The next records, at most so many, each partition's in order; none where nothing came for a moment."""
        ...

    def close(self) -> None:
        """Give back files and connections."""
        ...


class Progress(Protocol):
    """What a log knows of its readers: for lag, and for callers that wait until what they sent was dealt with."""

    def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the offset that the next record will get."""
        ...

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """By partition: the offset from which a group's next member would start (0 where it never committed)."""
        ...

    def record_at(self, tp: TP, offset: int) -> Record | None:
        """The oldest record of a partition at or behind an offset; None where the log ends before it."""
        ...
