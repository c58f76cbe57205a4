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
from features.rates import converted_by
from features.shards import EARLY_LABELS, OF, Lives
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
    features BLOB, forgotten TEXT, shards TEXT, rate TEXT
) WITHOUT ROWID;
CREATE TABLE events (
    shard INTEGER, seq INTEGER, decided_us INTEGER, features BLOB, forgotten TEXT, event BLOB, event_id TEXT, lives TEXT,
    owning INTEGER, early INTEGER
);
CREATE TABLE labels (
    order_us INTEGER, part INTEGER, offset INTEGER, logged_us INTEGER, label BLOB, event_id TEXT, nth INTEGER
);
CREATE TABLE until (shard TEXT PRIMARY KEY, seq INTEGER);
"""

DECIDED = """
INSERT INTO decided VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET seq = excluded.seq, arrived_us = excluded.arrived_us, body = excluded.body, shards = excluded.shards,
    rate = excluded.rate
WHERE decided.seq IS NULL AND excluded.seq IS NOT NULL
"""
"""The first record of an id counts. Where that is of other features, a later one tells its number in this store."""

KNOWN = """
SELECT event_id, seq, arrived_us, body, decided_us, features, forgotten, shards, rate FROM decided
WHERE event_id IN (SELECT value FROM json_each(?))
"""

UNTIL = """
INSERT INTO until SELECT '', coalesce(max(seq), 0) FROM decided WHERE shards IS NULL
UNION ALL SELECT key, max(value) FROM decided, json_each(shards) WHERE key NOT IN ('of', 'early') GROUP BY key
"""

WITHIN = """
CASE WHEN shards IS NULL THEN seq BETWEEN 1 AND (SELECT seq FROM until WHERE shard = '')
ELSE seq > 0 AND NOT EXISTS (SELECT 1 FROM json_each(shards) JOIN until ON until.shard = key WHERE value > until.seq) END
"""
"""Whether no number of a decision is above those that were there when the numbers ended."""

NTH = """
UPDATE labels SET nth = ranked.nth FROM (
    SELECT rowid AS at, row_number() OVER (PARTITION BY event_id ORDER BY order_us, part, offset) AS nth FROM labels
) AS ranked WHERE labels.rowid = ranked.at
"""

OF_A_SHARD = """
SELECT logged_us, label FROM labels JOIN (
    SELECT event_id, max(early) AS early FROM events WHERE shard = ? AND owning GROUP BY event_id
) USING (event_id) WHERE nth > early ORDER BY order_us, part, offset
"""
"""Labels that went to a shard by themselves, and not at once behind their event."""

ONE, NONE = -1, -2
"""In place of a shard's number: the whole of a store that has none; where an event lives that names no entity."""

Sampled = Callable[[str], bool]
"""Whether the decision of an event id is to be compared."""


class Placed(NamedTuple):
    """An event, and what its decision says."""

    seq: int
    decided_us: int
    features: Mapping[str, float | None] | None  # as logged; None: not to be compared
    forgotten: Collection[str]  # its entities that were forgotten since
    event: Transaction
    # on a cluster: its entities that live in this shard ("": what is of the event alone), and the labels that took the
    # numbers behind it, since they had come before it
    lives: Collection[str] | None = None
    early: Sequence[Label] = ()


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
        lives: Callable[[Transaction, int], Sequence[Lives]] | None = None,
    ) -> None:
        """`personal` entities are hidden; `forgotten` are the keyed hashes of people whose features were dropped.

        Of the partitions `gone` (topics without a tenant's prefix) the oldest records are no longer there. `lives` tells
        where on a cluster of so many shards an event's entities live.
        """
        self.counts: Counter[str] = Counter()
        self._codec, self._sampled = codec, sampled
        self._version, self._forgotten = features.version, frozenset(forgotten)
        self._convert_to = features.convert_to
        self._hide = _hiding(features, personal)
        self._db = sqlite3.connect("")
        self._db.executescript(SCHEMA)
        self._lanes = {tp: _Lane(gone=True) for tp in gone}
        self._encode = msgspec.msgpack.Encoder().encode
        self._lives = lives
        self._until: dict[str, int] = {}

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
            None if foreign or made.shards is msgspec.UNSET else msgspec.json.encode(made.shards).decode(),
            None if made.converted_from is msgspec.UNSET else made.converted_from.rate,
        )

    def end_numbers(self) -> None:
        """What gets a higher number than any so far is left out: a decision below it may still be on its way, one above too."""
        self._db.execute(UNTIL)
        self._until = dict(self._db.execute("SELECT shard, seq FROM until"))

    def transactions(self, records: Sequence[Record]) -> None:
        """Take in the next records of `transactions`; all decisions must have been."""
        decoded = self._codec.decode_many(records)
        ids = [each.event_id for each in decoded if isinstance(each, Transaction)]
        known = {row[0]: row for row in self._db.execute(KNOWN, (msgspec.json.encode(ids).decode(),))}
        rows = [
            row
            for record, each in zip(records, decoded, strict=True)
            if self._readable(each) and isinstance(each, Transaction)
            for row in self._placed(self._lane(TRANSACTIONS, record), each, known.get(each.event_id))
        ]
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _placed(
        self, lane: _Lane, event: Transaction, known: tuple[object, ...] | None
    ) -> Sequence[tuple[object, ...]]:
        lane.newest_us = max(lane.newest_us, event.arrived_us)
        if known is None:
            self.counts["undecided"] += 1
            lane.gap = True
            return ()
        _, seq, arrived_us, body, decided_us, features, forgotten, shards, rate = known
        if (arrived_us, body) != (event.arrived_us, event.body.hex()):
            self.counts["repeated"] += 1
            return ()
        if not isinstance(seq, int):
            lane.gap = True
            return ()
        if lane.since_us is None:
            lane.since_us, lane.gone = event.arrived_us, lane.gap
        event = converted_by(event, self._convert_to, str(rate), 0) if rate else event
        told = (decided_us, features, forgotten, self._encode(self._hide(event)), event.event_id)
        rows = self._in_shards(event, seq, shards) if shards else self._alone(seq)
        self.counts["events"] += bool(rows)
        return [(shard, number, *told, *more) for shard, number, *more in rows]

    def _alone(self, seq: int) -> Sequence[tuple[object, ...]]:
        return [(ONE, seq, None, 1, 0)] if 0 < seq <= self._until[""] else ()

    def _in_shards(self, event: Transaction, seq: int, shards: object) -> Sequence[tuple[object, ...]]:
        """By shard what is told of an event: its number there, what lives there, and whether labels go there."""
        told = msgspec.json.decode(str(shards), type=dict[str, int])
        of, early = told.pop(OF), told.pop(EARLY_LABELS, 0)
        if not seq or any(number > self._until[shard] for shard, number in told.items()) or not self._lives:
            return ()
        rows: list[tuple[object, ...]] = [
            (each.shard, told[str(each.shard)], " ".join(each.entities), each.owning, early)
            for each in self._lives(event, of)
            if str(each.shard) in told
        ]
        return [*rows, (NONE, seq, "", 0, 0)]

    def labels(self, records: Sequence[Record]) -> None:
        """Take in the next records of `labels`."""
        decoded = zip(records, self._codec.decode_many(records), strict=True)
        rows = [
            self._said(record, each)
            for record, each in decoded
            if self._readable(each) and isinstance(each, Label)
        ]
        self._db.executemany("INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, 0)", rows)

    def _said(self, record: Record, label: Label) -> tuple[object, ...]:
        lane = self._lane(LABELS, record)
        lane.newest_us = max(lane.newest_us, label.arrived_us)
        if lane.since_us is None:
            lane.since_us = label.arrived_us
        self.counts["labels"] += 1
        logged_us = record.timestamp_ms * 1_000
        said = self._encode(label)
        return lane.newest_us, record.partition, record.offset, logged_us, said, label.event_id

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
            f"coalesce(sum({WITHIN}), 0) FROM decided"
        )
        met = self._db.execute(
            "SELECT count(DISTINCT iif(shard = ?, seq, event_id)) FROM events", (ONE,)
        ).fetchone()[0]
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

    def shards(self) -> list[int]:
        """Where there are events: one place, or the shards of a cluster, each of which has numbers of its own."""
        found = [shard for (shard,) in self._db.execute("SELECT DISTINCT shard FROM events ORDER BY shard")]
        if found not in ([], [ONE]):
            self._db.execute(NTH)
            self._db.execute("CREATE INDEX IF NOT EXISTS of_event ON labels (event_id)")
        return found

    def placed(self, shard: int = ONE) -> Iterator[Placed]:
        """The events of a shard, by number."""
        event, features = (
            msgspec.msgpack.Decoder(Transaction),
            msgspec.msgpack.Decoder(dict[str, float | None]),
        )
        query = (
            "SELECT seq, decided_us, features, forgotten, event, lives, owning * early FROM events WHERE shard = ? "
            "ORDER BY seq, rowid"
        )
        for seq, decided_us, logged, forgotten, packed, lives, early in self._db.execute(query, (shard,)):
            told = None if logged is None else features.decode(logged)
            here = None if lives is None else (lives.split() or [""])
            made = event.decode(packed)
            labels = self._early(made, early) if early else ()
            yield Placed(seq, decided_us, told, forgotten.split(), made, here, labels)

    def _early(self, event: Transaction, count: int) -> list[Label]:
        query = "SELECT label FROM labels WHERE event_id = ? AND nth <= ? ORDER BY nth"
        decoder = msgspec.msgpack.Decoder(Label)
        return [decoder.decode(packed) for (packed,) in self._db.execute(query, (event.event_id, count))]

    def said(self, shard: int = ONE) -> Iterator[Said]:
        """The labels in the log's order; those of several partitions by arrival, then by partition and offset."""
        decoder = msgspec.msgpack.Decoder(Label)
        query, which = "SELECT logged_us, label FROM labels ORDER BY order_us, part, offset", ()
        rows = self._db.execute(OF_A_SHARD, (shard,)) if shard != ONE else self._db.execute(query, which)
        for logged_us, packed in rows:
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
