"""Records as they stand on the topics that the recorder reads, and the recorder that reads them."""

from __future__ import annotations

import msgspec

from features.profile import load
from models.baselines import NullScorer
from models.snapshot import Snapshot
from stream.codec import Codec
from stream.decisions import AlertRecord, DecisionRecord, LabelRecord, ReasonRecord
from stream.record import Recorder
from stream.records import ARRIVED, Record
from stream.sealing import Sealer
from stream.wire import encode

NAMES = ("amount", "count")
NOON = "2026-01-01T12:00:00+00:00"
NOON_US = 1_767_268_800_000_000
SEALER = Sealer(bytes(32))
PROFILE = load("payments")


def recorder_of(ledger, prefix="", **more):
    return Recorder(ledger, Codec(PROFILE, prefix=prefix), SEALER, prefix=prefix, **more)


def decision(event_id="e1", body="aa", score=0.9, amount=12.5, **more):
    fields = {
        "event_id": event_id,
        "kind": "transaction",
        "outcome": "approve",
        "score": score,
        "rung": "river",
        "reasons": [],
        "event_time": NOON,
        "arrived_us": NOON_US,
        "decided_at": NOON,
        "model_version": "river-1",
        "features_version": "f",
        "threshold": 0.5,
        "features": {"amount": amount, "count": None},
        "entities": {"card": "c"},
        "amount": 1250,
        "currency": "EUR",
        "body": body,
        "seq": 1,
    }
    return DecisionRecord(**{**fields, **more})


def alert(event_id="e1", score=0.9, **more):
    fields = {
        "alert_id": f"alert-{event_id}",
        "event_id": event_id,
        "score": score,
        "outcome": "review",
        "entities": {"card": "c" * 32, "merchant": "m-7"},
        "reasons": [
            ReasonRecord("amount", 12.5, 1.5),
            ReasonRecord("card_count_1h", 4.0, -0.4),
            ReasonRecord("card_since_last", None, 0.2),
        ],
        "event_time": NOON,
        "arrived_us": NOON_US,
        "amount": 1250,
        "currency": "EUR",
        "model_version": "river-1",
    }
    return AlertRecord(**{**fields, **more})


def decision_of(made):
    """The decision that such an alert is of."""
    fields = {name: getattr(made, name) for name in AlertRecord.__struct_fields__}
    fields = {name: value for name, value in fields.items() if name not in ("alert_id", "amount", "v")}
    return msgspec.structs.replace(decision(**fields), amount=made.amount)


def of_alerts(*alerts, first=0, key=b"key", part=1):
    """The decisions that such alerts are of, on a partition of their own, as the recorder is to read them."""
    return on_log("decisions", *map(decision_of, alerts), first=first, key=key, part=part)


def label(event_id="e1", fraud=True, label_id=None, source="chargeback"):
    return LabelRecord(
        label_id=label_id or f"l-{event_id}",
        event_id=event_id,
        label="fraud" if fraud else "legitimate",
        source=source,
        labelled_at=NOON,
    )


def on_log(topic, *items, first=0, key=b"key", part=0):
    """Records of one partition, from offset `first` on."""
    return [
        Record(
            topic,
            part,
            first + index,
            key,
            item if isinstance(item, bytes) else encode(item),
            ((ARRIVED, b"%d" % NOON_US),),
            5,
        )
        for index, item in enumerate(items)
    ]


def dead_letter(*, key=b"k", value=b"sealed", **headers):
    """One record of `transactions.dlq`."""
    fields = {"reason": "no amount", "topic": "transactions", "partition": "3", "offset": "77", "at": "5"}
    named = {**fields, **headers}
    encoded = tuple((name, text.encode()) for name, text in named.items() if text is not None)
    return Record("transactions.dlq", 0, 0, key, value, encoded, 9)


def snapshot(number):
    return Snapshot.of(
        NullScorer(NAMES),
        number=number,
        features_version="f",
        threshold=0.5,
        learned=number,
        positions={"labels/0": number},
        made_at=NOON,
    )
