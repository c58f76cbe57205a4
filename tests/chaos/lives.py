"""In which order the store applied the input: as it numbered it, in its last life and in those that a loss ended."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from features.compute import Plan
from features.events import Label
from features.ids import label_key
from features.redis_store import RedisFeatureStore
from stream.codec import Codec
from stream.decisions import LABELS, TRANSACTIONS
from stream.records import Record
from tests.chaos.oracle import Expected
from tests.chaos.stage import Stage
from tests.contract.valkey import Valkey

ENTRY, SAID = struct.Struct("<ddd8sBH"), struct.Struct("<8sIBdd8s")
"""What the store remembers of an id, and of each label of it: see features/script/ids.lua."""

Lane = tuple[str, int]


class Told:
    """The store's numbers: in which order it applied events, and labels."""

    def __init__(self) -> None:
        self.events: dict[str, int] = {}
        self.labels: dict[tuple[str, str], list[int]] = {}


def told_by_store(stage: Stage, server: Valkey) -> Told:
    """Ask a server for the number of each event and label in the input that it holds."""
    features = stage.oracle.profile.features
    owners, key = len(Plan(features).owners), stage.oracle.hash_key
    entries: dict[bytes, bytes] = {}
    with server.client() as client:
        keys = list(client.scan_iter(count=10_000))
        bases = [key for key in keys if key.endswith(b"}")]
        shelves = {key: _epoch(key, base) for base in bases for key in keys if key.startswith(base + b"i")}
        for shelf in sorted(shelves, key=lambda key: shelves[key]):  # an id is looked for in the newest first
            entries.update(client.hgetall(shelf))
    told = Told()
    for event in decoded(stage):
        digest = blake2b(event.event_id.encode(), digest_size=16, key=key).digest()
        packed = entries.get(digest)
        if packed is None:
            continue
        if isinstance(event, Label):
            said = _said(packed, owners)
            wanted = label_key(event.event_id, event.label_id)
            told.labels[event.event_id, event.label_id] = [seq for name, seq in said if name == wanted]
        elif (seq := int(ENTRY.unpack_from(packed)[1])) > 0:
            told.events[event.event_id] = seq
    return told


def _epoch(key: bytes, base: bytes) -> int:
    return int(key[len(base) + 1 :].partition(b":")[0])


def _said(packed: bytes, owners: int) -> list[tuple[bytes, int]]:
    start = ENTRY.size + 16 * owners + ENTRY.unpack_from(packed)[5]
    return [(key, int(seq)) for key, _, _, _, seq, _ in SAID.iter_unpack(packed[start:])]


def decoded(stage: Stage) -> list[Any]:
    decoded = Codec(stage.oracle.profile).decode_many(stage.log.read(TRANSACTIONS, LABELS))
    return [event for event in decoded if hasattr(event, "event_id")]


def in_order(stage: Stage, told: Told | None, reached: Mapping[Lane, int] | None = None) -> list[Record]:
    """The input in the order in which the store applied it: the log's, or where it has several partitions, its numbers.

    What took no number (dead letters, repetitions, late events) stays behind what stood before it in its partition.
    With `reached` only what lies before these offsets.
    """
    records = stage.log.read(TRANSACTIONS, LABELS)
    if reached is not None:
        records = [each for each in records if each.offset < reached.get((each.topic, each.partition), 0)]
    if told is None:
        return records
    codec, newest, seen, placed = Codec(stage.oracle.profile), Counter[Any](), set[Any](), []
    for record in sorted(records, key=lambda each: (each.topic, each.partition, each.offset)):
        event, lane = codec.decode(record), (record.topic, record.partition)
        name = (
            (event.event_id, event.label_id) if isinstance(event, Label) else getattr(event, "event_id", None)
        )
        numbers = told.labels.get(name, [0]) if isinstance(event, Label) else [told.events.get(name, 0)]
        number = 0 if name in seen else min(numbers, default=0)
        seen.add(name)
        newest[lane] = max(newest[lane], number)
        placed.append((number or newest[lane], not number, lane, record.offset, record))
    return [each[-1] for each in sorted(placed, key=lambda each: each[:-1])]


def lived(stage: Stage, expected: Expected, made: Expected) -> Expected:
    """The same, where the store has lost what several partitions had given it: that is applied again, in another order.

    What was decided before stands, since an event's first decision counts: it must be, whole, what the store answered in
    one of its lives, and the alert is that decision's.
    """
    decisions, alerts = dict(expected.decisions), dict(expected.alerts)
    for life in stage.lives:
        before = _expected_in(stage, life)
        stands = [name for name, row in before.decisions.items() if made.decisions.get(name) == row]
        for name in stands:
            decisions[name] = before.decisions[name]
            alerts.pop(f"alert-{name}", None)
        alerts |= {each: before.alerts[each] for name in stands if (each := f"alert-{name}") in before.alerts}
    return expected._replace(decisions=decisions, alerts=alerts)


def _expected_in(stage: Stage, life: Valkey) -> Expected:
    """What the input gives in the order in which it was applied in a life of the store, as far as that went."""
    life.start()
    try:
        return stage.oracle.expected(in_order(stage, told_by_store(stage, life), _reached(stage, life)))
    finally:
        life.kill()


def _reached(stage: Stage, life: Valkey) -> dict[Lane, int]:
    """By topic and partition: the offset behind the last that was applied."""
    prefix, oracle = stage.log.prefix, stage.oracle
    store = RedisFeatureStore(
        life.url, oracle.profile.features, prefix=f"{prefix}weir:", hash_key=oracle.hash_key
    )
    try:
        return {(topic.removeprefix(prefix), part): at for (topic, part), at in store.positions().items()}
    finally:
        store.close()
