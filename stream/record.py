"""The recorder: what stands on the topics becomes rows. A record that cannot be read is kept as a dead letter."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec.structs

from features.events import Label, to_us
from stream.codec import Codec, WireError, decode, encode
from stream.decisions import ALERTS, DECISIONS, LABELS, AlertRecord, DecisionRecord
from stream.emit import Emitter, alerting
from stream.letters import LetterOffice
from stream.records import TP, Record
from stream.review.batch import AlertRow, Batch, DecisionRow, LabelRow
from stream.review.ledger import RECORDER, Ledger
from stream.review.recording import OPEN
from stream.sealing import Sealer
from stream.watch import Reading

TIDY_SECONDS = 600.0
"""How often old decisions are looked for; while there are any, after every chunk."""

LARGEST = 1 << 63
"""SQL's whole numbers are smaller."""

FIRST_US, LAST_US = (to_us(when.replace(tzinfo=UTC)) for when in (datetime.min, datetime.max))

PLACE = attrgetter("topic", "partition")

Row = dict[str, Any]
Adder = Callable[[Batch, Record], None]


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
        self._adders: Mapping[str, Adder] = {
            DECISIONS: self._add_decision,
            ALERTS: self._add_alert,
            LABELS: self._add_label,
        }

    def record(self, records: Sequence[Record], condemned: str = "") -> Counter[str]:
        """Write a chunk in one transaction; what is below the stored offsets was written before.

        Records that are `condemned`, and why, are kept as dead letters, whatever they are.
        """
        batch = Batch()
        for place, run in groupby(records, PLACE):
            tp = TP(*place)
            fresh = [record for record in run if record.offset >= self._positions.get(tp, 0)]
            if fresh:
                self._take(batch, tp.topic, fresh, condemned)
                batch.positions[tp] = fresh[-1].offset + 1
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

    def _take(self, batch: Batch, topic: str, records: Sequence[Record], condemned: str) -> None:
        add = self._adders.get(topic.removeprefix(self._prefix), self._add_dead_letter)
        for record in records:
            if condemned:
                self._bury(batch, record, condemned)
                continue
            try:
                add(batch, record)
            except ValueError as error:
                self._unreadable(batch, record, error)

    def _add_decision(self, batch: Batch, record: Record) -> None:
        """A decision's row, and its alert's, which counts if and only if the decision is its event's first."""
        read = decode(record.value, DecisionRecord)
        row = _decision(record, read)
        if alerting(read):
            row.alert = _alert(Emitter.alert(read), self._sealed(record.key))
        batch.decisions.append(row)

    def _add_alert(self, batch: Batch, record: Record) -> None:
        """It is for others to read: here an alert is made of the decision that counts."""
        decode(record.value, AlertRecord)

    def _add_label(self, batch: Batch, record: Record) -> None:
        """A label that cannot be read is passed over: the score role buries it, with the reason."""
        label = self._codec.decode(record)
        if isinstance(label, Label):
            batch.labels.append(_label(label, self._codec.labelled_at(record)))
        else:
            self.counts["unreadable"] += 1

    def _add_dead_letter(self, batch: Batch, record: Record) -> None:
        batch.dead_letters.append(_dead_letter(record, self._sealed(record.key)))

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


def _decision(record: Record, read: DecisionRecord) -> DecisionRow:
    """The row of a decision, which was read whole: so whoever reads it of the ledger, the learner, can read it too."""
    row = DecisionRow(
        event_id=read.event_id,
        event_us=_event_us(read.event_time),
        arrived_us=read.arrived_us,
        decided_us=_decided_us(read.decided_at),
        outcome=read.outcome,
        score=read.score,
        model_version=read.model_version,
        body=read.body,
        record=record.value,
    )
    texts = (row.event_id, row.outcome, row.model_version, row.body)
    if "\0" in "".join(texts) or not -LARGEST <= row.arrived_us < LARGEST:
        _storable(msgspec.structs.asdict(row))
    return row


def _event_us(written: str) -> int:
    us = to_us(datetime.fromisoformat(written))
    if not FIRST_US <= us <= LAST_US:
        raise WireError(f"its event_time {written} is in no year that a calendar has")
    return us


@lru_cache(maxsize=64)
def _decided_us(written: str) -> int:
    """When a decision was made; all of one batch were made at once."""
    return to_us(datetime.fromisoformat(written))


def _alert(read: AlertRecord, key: bytes | None) -> AlertRow:
    return AlertRow(
        alert_id=read.alert_id,
        event_id=read.event_id,
        score=read.score,
        arrived_us=read.arrived_us,
        state=OPEN,
        key=key,
        record=encode(read),
    )


def _label(label: Label, labelled_at: str) -> LabelRow:
    return LabelRow(
        label_id=label.label_id,
        event_id=label.event_id,
        fraud=label.fraud,
        source=label.source,
        labelled_at=labelled_at,
        arrived_us=label.arrived_us,
        reverses=label.reverses,
    )


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
