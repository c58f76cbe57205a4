"""The recorder: what stands on the topics becomes rows. A record that cannot be read is kept as a dead letter."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from features.events import Label, to_datetime, to_us
from stream.codec import Codec, WireError, decode, encode
from stream.decisions import ALERTS, DECISIONS, LABELS, AlertRecord, DecisionRecord
from stream.emit import Emitter, alerting
from stream.letters import LetterOffice
from stream.records import TP, Record
from stream.review.ledger import RECORDER, Batch, Ledger
from stream.sealing import Sealer
from stream.watch import Reading

TIDY_SECONDS = 600.0
"""How often old decisions are looked for; while there are any, after every chunk."""

LARGEST = 1 << 63
"""SQL's whole numbers are smaller."""

Row = dict[str, Any]


class Recorder:
    """Writes chunks of decisions, alerts, labels and dead letters into the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        codec: Codec,
        sealer: Sealer,
        *,
        prefix: str = "",
        keep_us: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`codec` reads labels as the score role does; what may be personal is sealed; `prefix` is the tenant's.

        Decisions are let go when they are older than `keep_us`; when to look for them is told by `clock`, in seconds.
        """
        self.counts: Counter[str] = Counter()
        self._ledger = ledger
        self._codec = codec
        self._seal = sealer.seal
        self._office = LetterOffice(sealer)
        self._prefix = prefix
        self._keep_us = keep_us
        self._tidy_at = 0.0
        self._clock = clock
        self._positions = ledger.positions(RECORDER)

    def record(self, records: Sequence[Record], condemned: str = "") -> Counter[str]:
        """Write a chunk in one transaction; what is below the stored offsets was written before.

        Records that are `condemned`, and why, are kept as dead letters, whatever they are.
        """
        batch = Batch()
        for record in records:
            tp = TP(record.topic, record.partition)
            if record.offset >= self._positions.get(tp, 0):
                if condemned:
                    self._bury(batch, record, condemned)
                else:
                    self._add(batch, record)
                batch.positions[tp] = record.offset + 1
        if not batch.positions:
            return Counter()
        counts = self._ledger.record(batch)
        self._positions.update(batch.positions)
        self.counts.update(counts)
        self._tidy()
        return counts

    def readings(self) -> Iterator[Reading]:
        """What was written since the start, for metrics."""
        for kind in ("events", "alerts", "repeated", "conflicts"):
            yield Reading("weir_recorded_rows", self.counts[kind], {"kind": kind})
        yield Reading("weir_unreadable", self.counts["unreadable"], {"what": "records"})

    def _tidy(self) -> None:
        """Now and then let go of some old decisions, in one short transaction."""
        now = self._clock()
        if self._keep_us is not None and now >= self._tidy_at:
            more = self._ledger.let_go(self._keep_us)
            self._tidy_at = now if more else now + TIDY_SECONDS

    def _add(self, batch: Batch, record: Record) -> None:
        topic = record.topic.removeprefix(self._prefix)
        try:
            if topic == DECISIONS:
                batch.decisions.append(self._decision(record))
            elif topic == ALERTS:
                # It is for others to read: here an alert is made of the decision that counts.
                decode(record.value, AlertRecord)
            elif topic == LABELS:
                self._add_label(batch, record)
            else:
                batch.dead_letters.append(_dead_letter(record, self._sealed(record.key)))
        except ValueError as error:
            self._unreadable(batch, record, error)

    def _decision(self, record: Record) -> Row:
        """A decision's row, and its alert's, which counts if and only if the decision is its event's first."""
        read = decode(record.value, DecisionRecord)
        row = _decision(record, read)
        row["alert"] = _alert(Emitter.alert(read), self._sealed(record.key)) if alerting(read) else None
        return row

    def _add_label(self, batch: Batch, record: Record) -> None:
        """A label that cannot be read is passed over: the score role buries it, with the reason."""
        label = self._codec.decode(record)
        if isinstance(label, Label):
            batch.labels.append(_label(record, label))
        else:
            self.counts["unreadable"] += 1

    def _unreadable(self, batch: Batch, record: Record, error: ValueError) -> None:
        """Somebody else wrote into a topic of Weir's own."""
        self.counts["unreadable"] += 1
        self._bury(batch, record, f"not a record that Weir writes: {error}")

    def _bury(self, batch: Batch, record: Record, reason: str) -> None:
        letter = self._codec.dead_letter(record, reason)
        batch.dead_letters.append(
            {
                "topic": letter.topic,
                "part": letter.partition,
                "offset": letter.offset,
                "reason": letter.reason,
                "at_us": letter.at_us,
                "key": self._sealed(letter.key),
                "value": self._office.sealed(letter),
            }
        )

    def _sealed(self, key: bytes | None) -> bytes | None:
        """A key is an entity's value as it came, which may be personal."""
        return None if key is None else self._seal(key)


class _LabelledAt(msgspec.Struct):
    labelled_at: str | int | float


def _decision(record: Record, read: DecisionRecord) -> Row:
    return _storable(
        {
            "event_id": read.event_id,
            "event_time": _utc(read.event_time),
            "arrived_us": read.arrived_us,
            "decided_us": to_us(datetime.fromisoformat(read.decided_at)),
            "outcome": read.outcome,
            "score": read.score,
            "model_version": read.model_version,
            "body": read.body,
            "record": record.value,
        }
    )


def _utc(written: str) -> datetime:
    when = datetime.fromisoformat(written)
    try:
        return to_datetime(to_us(when))
    except OverflowError as error:
        raise WireError(f"its event_time {written} is in no year that a calendar has") from error


def _alert(read: AlertRecord, key: bytes | None) -> Row:
    return _storable(
        {
            "alert_id": read.alert_id,
            "event_id": read.event_id,
            "score": read.score,
            "arrived_us": read.arrived_us,
            "state": "open",
            "key": key,
            "record": encode(read),
        }
    )


def _label(record: Record, label: Label) -> Row:
    return {
        "label_id": label.label_id,
        "event_id": label.event_id,
        "fraud": label.fraud,
        "source": label.source,
        "labelled_at": str(msgspec.json.decode(record.value, type=_LabelledAt).labelled_at),
        "arrived_us": label.arrived_us,
        "reverses": label.reverses,
    }


def _dead_letter(record: Record, key: bytes | None) -> Row:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    missing = {"topic", "partition", "offset", "reason", "at"} - headers.keys()
    if missing:
        raise WireError(f"a dead letter without {', '.join(sorted(missing))}")
    return _storable(
        {
            "topic": headers["topic"],
            "part": int(headers["partition"]),
            "offset": int(headers["offset"]),
            "reason": headers["reason"],
            "at_us": int(headers["at"]),
            "key": key,
            "value": record.value,
        }
    )


def _storable(row: Row) -> Row:
    """The row, if every database takes it: whole numbers of 64 bits, texts without the character NUL."""
    for name, value in row.items():
        if (type(value) is int and not -LARGEST <= value < LARGEST) or (type(value) is str and "\0" in value):
            raise WireError(f"its {name} cannot be stored")
    return row
