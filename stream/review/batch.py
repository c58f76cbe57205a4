"""What the recorder hands to the ledger: the rows of a chunk, and the offsets behind them."""

from __future__ import annotations

from typing import Any

import msgspec

from stream.records import TP


class AlertRow(msgspec.Struct, frozen=True, gc=False):
    """A new row of `alerts`, in the order of its columns."""

    alert_id: str
    event_id: str
    score: float
    arrived_us: int
    state: str
    key: bytes | None  # of the decision's record, sealed
    record: bytes


class DecisionRow(msgspec.Struct, gc=False):
    """A decision as `decided` and `decisions` keep it, and the alert that comes with it if it is its event's first.

    A chunk holds thousands, so nothing here is computed twice: times are microseconds since 1970.
    """

    event_id: str
    event_us: int  # in the years that a calendar has
    arrived_us: int
    decided_us: int
    outcome: str
    score: float
    model_version: str
    body: str
    record: bytes  # as it came
    alert: AlertRow | None = None


class LabelRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `labels`, in the order of its columns."""

    label_id: str
    event_id: str
    fraud: bool
    source: str
    labelled_at: str
    arrived_us: int
    reverses: str | None


class Batch(msgspec.Struct):
    """Rows of one chunk, in its order, and the offsets behind them; those of dead letters are dicts by column name."""

    decisions: list[DecisionRow] = []
    labels: list[LabelRow] = []
    dead_letters: list[dict[str, Any]] = []
    positions: dict[TP, int] = {}
