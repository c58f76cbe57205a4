"""The records that Weir writes: decisions, alerts and labels, as they stand on the wire (JSON, UTF-8, schema version in ``v``)."""

from __future__ import annotations

import msgspec


class DecisionRecord(msgspec.Struct, frozen=True, gc=False):
    """A complete decision: everything needed to make it again."""

    event_id: str
    kind: str  # "transaction"
    outcome: str  # "approve" < "review" < "decline"
    score: float
    rung: str  # what scored it: "ensemble", "river" (no network answered), "rules" (no model was ready), "degraded" (no store)
    reasons: list[ReasonRecord]
    event_time: str  # ISO 8601, UTC, by the event's own clock
    arrived_us: int
    decided_at: str  # clock field: differs between a run and its repetition
    model_version: str
    features_version: str
    threshold: float | None  # None: no threshold was known, so nothing was alerted
    features: dict[str, float | None]  # None stands for "not known" (NaN has no JSON)
    entities: dict[str, str]  # as the profile allows them to be kept
    amount: int  # minor units
    currency: str
    body: str  # hex digest of the mapped content
    seq: int  # the order in which the store applied it
    late: bool = False
    approximate: bool = False
    count_error: float | msgspec.UnsetType = msgspec.UNSET  # the share of a count that is uncertain at most
    sealed: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # personal entities: base64 of an envelope
    warming: list[str] | msgspec.UnsetType = msgspec.UNSET  # features that are still being filled
    shards: dict[str, int] | msgspec.UnsetType = msgspec.UNSET  # on a cluster: features.shards.numbers_of
    converted_from: ConvertedRecord | msgspec.UnsetType = (
        msgspec.UNSET
    )  # where the amount came in another currency
    scores: dict[str, float] | msgspec.UnsetType = msgspec.UNSET  # with a network: of the parts that scored
    v: int = 1


class ConvertedRecord(msgspec.Struct, frozen=True, gc=False):
    """What an amount was, and the rate by which it counts: amount and currency of the decision are those that it became."""

    amount: int  # minor units
    currency: str
    rate: str  # for one of `currency`: decimal digits
    at: str  # ISO 8601, UTC: of when the rate is


class ReasonRecord(msgspec.Struct, frozen=True, gc=False):
    """One feature's part in a score."""

    feature: str
    value: float | None  # None: not known
    weight: float


class AlertRecord(msgspec.Struct, frozen=True, gc=False):
    """A decision that a person should look at."""

    alert_id: str  # the event's id, prefixed: the same event never makes two alerts
    event_id: str
    score: float
    outcome: str
    entities: dict[str, str]
    reasons: list[ReasonRecord]
    event_time: str
    arrived_us: int
    amount: int
    currency: str
    model_version: str
    sealed: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # as in the decision
    converted_from: ConvertedRecord | msgspec.UnsetType = msgspec.UNSET  # as in the decision
    v: int = 1


class LabelRecord(msgspec.Struct, frozen=True, gc=False):
    """A verdict, a chargeback: what somebody said of an event."""

    label_id: str
    event_id: str
    label: str  # "fraud" or "legitimate"
    source: str
    labelled_at: str  # ISO 8601, UTC
    reverses: str | None = None
    v: int = 1


DECISIONS, ALERTS, LABELS, TRANSACTIONS = "decisions", "alerts", "labels", "transactions"
DEAD_TRANSACTIONS, DEAD_LABELS = "transactions.dlq", "labels.dlq"
