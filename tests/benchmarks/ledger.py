"""Recording decisions in SQL: our recorder in batches, against a row and a transaction at a time, in one run.

usage: python -m tests.benchmarks.ledger [SQLALCHEMY-URL of an empty database; default: SQLite in a temporary folder]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import insert

from stream.decisions import DecisionRecord
from stream.records import Record
from stream.review import tables
from stream.review.ledger import Ledger
from tests.contract.ledger_records import NOON_US, alert, decision, label, on_log, recorder_of

BATCH = 500
BATCHES = 60
FEATURES = {f"card_mean_amount_{number}d": number * 1.37 for number in range(15)}


def main() -> None:
    """Print decisions a second of both, and their ratio; and what their alerts and labels add."""
    url = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.open(url or f"sqlite:///{directory}/weir.db")
        recorder = recorder_of(ledger)
        plain = [decided(number) for number in range(BATCHES)]
        ours, busy = timed(lambda: [recorder.record(each) for each in plain])
        whole = [decided(number) + said(number) for number in range(BATCHES, 2 * BATCHES)]
        more, more_busy = timed(lambda: [recorder.record(each) for each in whole])
        rows, _ = timed(lambda: row_by_row(ledger, decided(2 * BATCHES) + decided(2 * BATCHES + 1)))
        ledger.close()
    tell(f"recorder, batches of {BATCH} decisions", BATCH * BATCHES, ours, busy)
    tell("the same, with an alert for each hundredth and a label for each", BATCH * BATCHES, more, more_busy)
    tell("a row and a transaction at a time", 2 * BATCH, rows)
    sys.stdout.write(f"ratio: {(rows / (2 * BATCH)) / (ours / (BATCH * BATCHES)):.1f}\n")


def tell(what: str, decisions: int, seconds: float, own: float | None = None) -> None:
    """One line."""
    busy = f" ({decisions / own:,.0f} a second of this process' own time)" if own else ""
    sys.stdout.write(f"{what}: {decisions / seconds:,.0f} decisions/s{busy}\n")


def decided(number: int) -> list[Record]:
    """A chunk of decisions as it comes from the log."""
    made = [decision(name, features=FEATURES, arrived_us=NOON_US + number) for name in names_of(number)]
    return on_log("decisions", *made, first=number * BATCH)


def said(number: int) -> list[Record]:
    """The alerts and labels of a chunk."""
    names = names_of(number)
    labels = [label(name, fraud=False) for name in names]
    alerts = [alert(name) for name in names[::100]]
    return [
        *on_log("alerts", *alerts, first=number * len(alerts)),
        *on_log("labels", *labels, first=number * BATCH),
    ]


def names_of(number: int) -> list[str]:
    """Ids in no order, as they are in life."""
    return [f"event-{(number * BATCH + each) * 7919 % 1_000_003:07d}" for each in range(BATCH)]


def row_by_row(ledger: Ledger, records: list[Record]) -> None:
    """What a first version would do: decode one, insert one, commit."""
    for number, record in enumerate(records, 2 * BATCH * BATCHES + 1):
        read = msgspec.json.decode(record.value, type=DecisionRecord)
        row = {
            "event_id": read.event_id,
            "number": number,
            "event_time": read.event_time,
            "arrived_us": read.arrived_us,
            "decided_us": read.arrived_us,
            "outcome": read.outcome,
            "score": read.score,
            "model_version": read.model_version,
            "body": read.body,
            "record": record.value,
        }
        with ledger.engine.begin() as db:
            db.execute(insert(tables.decisions), [row])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the wall, and of this process."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


if __name__ == "__main__":
    main()
