"""Recording decisions in SQL: our recorder, in batches as little and as much to do makes them, and a row at a time, in one run.

usage: python -m tests.benchmarks.ledger [SQLALCHEMY-URL of an empty database; default: SQLite in a temporary folder]
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable

import msgspec
from psutil import Process
from sqlalchemy import insert

from features.events import to_datetime
from stream.decisions import DecisionRecord
from stream.record import Recorder
from stream.records import Record
from stream.review import tables
from stream.review.ledger import Ledger
from tests.contract.ledger_records import NOON_US, decision, label, on_log, recorder_of

SIZES = (500, 4_000)  # the second is what a recorder that is behind takes at once
ROUND = 8_000
ROUNDS = 5
FEATURES = {f"card_mean_amount_{number}d": number * 1.37 for number in range(15)}

Chunk = Callable[[int, int], list[Record]]
Cost = tuple[float, float]
"""Seconds a decision: by the wall, and of work."""


def main() -> None:
    """Print decisions a second of each way, in turns, the best round of each, and the ratio.

    The wall's figure is this machine's as busy as it is now; that of work is what two cores for ourselves would give.
    """
    url = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.open(url or f"sqlite:///{directory}/weir.db")
        recorder, numbers, server = recorder_of(ledger), itertools.count(0, ROUND), backend_of(ledger)
        alone = in_turns(recorder, numbers, decided, server)
        whole = in_turns(recorder, numbers, with_labels, server)
        row, _ = timed(lambda: row_by_row(ledger, decided(next(numbers), SIZES[0])), server)
        ledger.close()
    for size in SIZES:
        tell(f"recorder, batches of {size:,} decisions", alone[size])
        tell(f"batches of {size:,} decisions, an alert for each hundredth and a label for each", whole[size])
    sys.stdout.write(f"a row and a transaction at a time: {SIZES[0] / row:,.0f} decisions/s\n")
    sys.stdout.write(f"ratio: {row / SIZES[0] / alone[SIZES[0]][0]:.1f}\n")


def in_turns(
    recorder: Recorder, numbers: itertools.count[int], chunk: Chunk, server: Process | None
) -> dict[int, Cost]:
    """By the size of a batch: what a decision costs in its best round."""
    rounds: dict[int, list[Cost]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS):
        for size, costs in rounds.items():
            first = next(numbers)
            chunks = [chunk(at, size) for at in range(first, first + ROUND, size)]
            wall, busy = timed(lambda chunks=chunks: [recorder.record(each) for each in chunks], server)  # type: ignore[misc]
            costs.append((wall / ROUND, busy / ROUND))
    return {size: min(costs) for size, costs in rounds.items()}


def backend_of(ledger: Ledger) -> Process | None:
    """The server's process that works for us, where it is on this machine."""
    if ledger.engine.dialect.name != "postgresql" or ledger.engine.url.host not in ("127.0.0.1", "localhost"):
        return None
    with ledger.engine.connect() as db:
        return Process(db.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def tell(what: str, cost: Cost) -> None:
    """One line."""
    wall, busy = cost
    sys.stdout.write(
        f"{what}: {1 / wall:,.0f} decisions/s; {busy * 1e6:.0f} us of work each, {1 / busy:,.0f}/s\n"
    )


def decided(first: int, size: int, alerting: int = SIZES[0]) -> list[Record]:
    """A chunk of decisions as it comes from the log, which has `first` before it; one of so many alerts."""
    made = [
        decision(
            name,
            features=FEATURES,
            arrived_us=NOON_US + first,
            outcome="approve" if (each + 1) % alerting else "review",
        )
        for each, name in enumerate(names_of(first, size))
    ]
    return on_log("decisions", *made, first=first)


def with_labels(first: int, size: int) -> list[Record]:
    """A chunk of decisions, one of a hundred with an alert, and of labels of them."""
    labels = [label(name, fraud=False) for name in names_of(first, size)]
    return [*decided(first, size, alerting=100), *on_log("labels", *labels, first=first)]


def names_of(first: int, size: int) -> list[str]:
    """Ids in no order, as they are in life."""
    return [f"event-{each * 7919 % 1_000_003:07d}" for each in range(first, first + size)]


def row_by_row(ledger: Ledger, records: list[Record]) -> None:
    """What a first version would do: decode one, insert one, commit."""
    for number, record in enumerate(records, 1_000_000):
        read = msgspec.json.decode(record.value, type=DecisionRecord)
        row = {
            "event_id": read.event_id,
            "number": number,
            "event_time": to_datetime(read.arrived_us),
            "arrived_us": read.arrived_us,
            "decided_us": read.arrived_us,
            "outcome": read.outcome,
            "score": read.score,
            "model_version": read.model_version,
            "record": record.value,
        }
        with ledger.engine.begin() as db:
            db.execute(insert(tables.decisions), [row])


def timed(work: Callable[[], object], server: Process | None) -> tuple[float, float]:
    """Seconds by the wall, and of work: this process' and the server's."""
    wall, busy = time.perf_counter(), worked(server)
    work()
    return time.perf_counter() - wall, worked(server) - busy


def worked(server: Process | None) -> float:
    """Seconds of a processor so far."""
    there = server.cpu_times() if server else None
    return time.process_time() + (there.user + there.system if there else 0.0)


if __name__ == "__main__":
    main()
