"""What stands on the log, in the order in which the feature store applied it: by the number that each decision keeps.

Decisions are read first, then transactions and labels; all of it lies in a temporary SQLite file, so that memory is none
of the log's size. That file holds no personal value: in its place stands a digest whose key is gone with the process.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from features.catalogue import FeatureSet
from features.events import Label, Transaction, to_us
from stream.codec import Codec
from stream.decisions import LABELS, TRANSACTIONS, DecisionRecord
from stream.letters import DeadLetter
from stream.records import TP, Record
from stream.wire import WireError, decode

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -64000;
CREATE TABLE decided (
    event_id TEXT PRIMARY KEY, foreigner INTEGER, seq INTEGER, arrived_us INTEGER, body TEXT, decided_us INTEGER,
    features BLOB, forgotten TEXT
) WITHOUT ROWID;
CREATE TABLE events (seq INTEGER, decided_us INTEGER, features BLOB, forgotten TEXT, event BLOB);
CREATE TABLE labels (order_us INTEGER, part INTEGER, offset INTEGER, logged_us INTEGER, label BLOB);
"""

DECIDED = """
INSERT INTO decided VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET seq = excluded.seq, arrived_us = excluded.arrived_us, body = excluded.body
WHERE decided.seq IS NULL AND excluded.seq IS NOT NULL
"""
"""The first record of an id counts. Where that is of other features, a later one tells its number in this store."""

KNOWN = """
SELECT event_id, seq, arrived_us, body, decided_us, features, forgotten FROM decided
WHERE event_id IN (SELECT value FROM json_each(?))
"""

Sampled = Callable[[str], bool]
"""Whether the decision of an event id is to be compared."""


class Placed(NamedTuple):
    """An event, and what its decision says."""

    seq: int
    decided_us: int
    features: Mapping[str, float | None] | None  # as logged; None: not to be compared
    forgotten: Collection[str]  # its entities that were forgotten since
    event: Transaction


class Said(NamedTuple):
    """A label, and when the log took it."""

    logged_us: int
    label: Label


class Since(NamedTuple):
    """From when on a topic is whole, by arrivals; None: from its beginning on."""

    transactions: int | None
    labels: int | None


class _Lane:
    """How much of a partition's beginning is gone."""

    def __init__(self, gone: bool) -> None:
        self.gone = gone
        self.gap = gone  # whether something is missing before what follows next
        self.since_us: int | None = None
        self.newest_us = 0


class NumberedLog:
    """Decisions, transactions and labels, brought into the store's order. Not for several threads.

    `counts` tells how many records were what.
    """

    def __init__(
        self,
        codec: Codec,
        features: FeatureSet,
        *,
        personal: Collection[str] = (),
        forgotten: Collection[str] = (),
        sampled: Sampled = lambda event_id: True,
        gone: Collection[TP] = (),
    ) -> None:
        """`personal` entities are hidden; `forgotten` are the keyed hashes of people whose features were dropped.

        Of the partitions `gone` (topics without a tenant's prefix) the oldest records are no longer there.
        """
        self.counts: Counter[str] = Counter()
        self._codec, self._sampled = codec, sampled
        self._version, self._forgotten = features.version, frozenset(forgotten)
        self._hide = _hiding(features, personal)
        self._db = sqlite3.connect("")
        self._db.executescript(SCHEMA)
        self._lanes = {tp: _Lane(gone=True) for tp in gone}
        self._encode = msgspec.msgpack.Encoder().encode
        self._until = 0

    def close(self) -> None:
        """Let the temporary file go."""
        self._db.close()

    # --- in

    def decisions(self, records: Sequence[Record]) -> None:
        """Take in the next records of `decisions`, in the log's order."""
        rows = [self._decided(each) for each in records]
        self._db.executemany(DECIDED, [row for row in rows if row is not None])

    def _decided(self, record: Record) -> tuple[object, ...] | None:
        try:
            made = decode(record.value, DecisionRecord)
        except WireError:
            self.counts["unreadable"] += 1
            return None
        self.counts["records"] += 1
        foreign = made.features_version != self._version
        wanted = not foreign and not made.warming and made.seq > 0 and self._sampled(made.event_id)
        return (
            made.event_id,
            foreign,
            None if foreign else made.seq,
            made.arrived_us,
            made.body,
            _instant_us(made.decided_at),
            self._encode(made.features) if wanted else None,
            " ".join(name for name, value in made.entities.items() if value in self._forgotten),
        )

    def end_numbers(self) -> None:
        """What gets a higher number than any so far is left out: a decision below it may still be on its way, one above too."""
        ((self._until,),) = self._db.execute("SELECT coalesce(max(seq), 0) FROM decided")

    def transactions(self, records: Sequence[Record]) -> None:
        """Take in the next records of `transactions`; all decisions must have been."""
        decoded = self._codec.decode_many(records)
        ids = [each.event_id for each in decoded if isinstance(each, Transaction)]
        known = {row[0]: row for row in self._db.execute(KNOWN, (msgspec.json.encode(ids).decode(),))}
        rows = [
            self._placed(self._lane(TRANSACTIONS, record), each, known.get(each.event_id))
            for record, each in zip(records, decoded, strict=True)
            if self._readable(each) and isinstance(each, Transaction)
        ]
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", [row for row in rows if row])

    def _placed(
        self, lane: _Lane, event: Transaction, known: tuple[object, ...] | None
    ) -> tuple[object, ...]:
        lane.newest_us = max(lane.newest_us, event.arrived_us)
        if known is None:
            self.counts["undecided"] += 1
            lane.gap = True
            return ()
        _, seq, arrived_us, body, decided_us, features, forgotten = known
        if (arrived_us, body) != (event.arrived_us, event.body.hex()):
            self.counts["repeated"] += 1
            return ()
        if not isinstance(seq, int):
            lane.gap = True
            return ()
        if lane.since_us is None:
            lane.since_us, lane.gone = event.arrived_us, lane.gap
        if not 0 < seq <= self._until:
            return ()
        self.counts["events"] += 1
        return seq, decided_us, features, forgotten, self._encode(self._hide(event))

    def labels(self, records: Sequence[Record]) -> None:
        """Take in the next records of `labels`."""
        decoded = zip(records, self._codec.decode_many(records), strict=True)
        rows = [
            self._said(record, each)
            for record, each in decoded
            if self._readable(each) and isinstance(each, Label)
        ]
        self._db.executemany("INSERT INTO labels VALUES (?, ?, ?, ?, ?)", rows)

    def _said(self, record: Record, label: Label) -> tuple[object, ...]:
        lane = self._lane(LABELS, record)
        lane.newest_us = max(lane.newest_us, label.arrived_us)
        if lane.since_us is None:
            lane.since_us = label.arrived_us
        self.counts["labels"] += 1
        logged_us = record.timestamp_ms * 1_000
        return lane.newest_us, record.partition, record.offset, logged_us, self._encode(label)

    def _readable(self, decoded: object) -> bool:
        self.counts["dead_letters"] += isinstance(decoded, DeadLetter)
        return not isinstance(decoded, DeadLetter)

    def _lane(self, topic: str, record: Record) -> _Lane:
        return self._lanes.setdefault(TP(topic, record.partition), _Lane(gone=False))

    # --- out

    def told(self) -> dict[str, int]:
        """How many decisions there are, how many of them of other features, late, and without their event."""
        ((ids, foreign, late, fresh),) = self._db.execute(
            "SELECT count(*), coalesce(sum(foreigner), 0), coalesce(sum(seq = 0 AND NOT foreigner), 0), "
            "coalesce(sum(seq BETWEEN 1 AND ?), 0) FROM decided",
            (self._until,),
        )
        met = self._db.execute("SELECT count(DISTINCT seq) FROM events").fetchone()[0]
        return {"decisions": ids, "foreign": foreign, "late": late, "gone": max(0, fresh - met)}

    @property
    def label_lanes(self) -> int:
        """How many partitions have labels."""
        return sum(tp.topic == LABELS and lane.newest_us > 0 for tp, lane in self._lanes.items())

    def since(self) -> Since:
        """From when on the log tells everything."""
        return Since(self._since(TRANSACTIONS), self._since(LABELS))

    def _since(self, topic: str) -> int | None:
        """Of a partition of which nothing is left nobody knows until when it held something: until now, at most."""
        now = max((lane.newest_us for lane in self._lanes.values()), default=0)
        starts = [
            now if lane.since_us is None else lane.since_us
            for tp, lane in self._lanes.items()
            if tp.topic == topic and lane.gone
        ]
        return max(starts, default=None)

    def placed(self) -> Iterator[Placed]:
        """The events, by number."""
        event, features = (
            msgspec.msgpack.Decoder(Transaction),
            msgspec.msgpack.Decoder(dict[str, float | None]),
        )
        query = "SELECT seq, decided_us, features, forgotten, event FROM events ORDER BY seq, rowid"
        for seq, decided_us, logged, forgotten, packed in self._db.execute(query):
            told = None if logged is None else features.decode(logged)
            yield Placed(seq, decided_us, told, forgotten.split(), event.decode(packed))

    def said(self) -> Iterator[Said]:
        """The labels in the log's order; those of several partitions by arrival, then by partition and offset."""
        decoder = msgspec.msgpack.Decoder(Label)
        query = "SELECT logged_us, label FROM labels ORDER BY order_us, part, offset"
        for logged_us, packed in self._db.execute(query):
            yield Said(logged_us, decoder.decode(packed))


def _hiding(features: FeatureSet, personal: Collection[str]) -> Callable[[Transaction], Transaction]:
    """Puts digests in the place of personal values: features ask only which are equal, or one that the profile names."""
    key = os.urandom(32)
    named = {each.where for each in features.features}
    hidden = [name in personal for name in features.entities]

    def digest(name: str, value: str) -> str:
        if not value or (name, value) in named:
            return value
        return blake2b(value.encode(), key=key, digest_size=16).hexdigest()

    def hide(event: Transaction) -> Transaction:
        values = zip(features.entities, event.entities, hidden, strict=True)
        told = tuple([digest(name, value) if secret else value for name, value, secret in values])
        return msgspec.structs.replace(event, entities=told)

    return hide if any(hidden) else lambda event: event


def _instant_us(text: str) -> int:
    """A clock field in microseconds; 0 where it is none, as in a replayed decision."""
    try:
        return to_us(datetime.fromisoformat(text))
    except ValueError:
        return 0
