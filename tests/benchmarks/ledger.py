"""Recording decisions in SQL: our recorder, with COPY and with INSERT, against a row and a transaction at a time, in one run.

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
from stream.review import bulk, tables
from stream.review.ledger import Ledger
from tests.contract.ledger_records import NOON_US, decision, label, on_log, recorder_of

BATCH = 500
BATCHES = 10
ROUNDS = 6
FEATURES = {f"card_mean_amount_{number}d": number * 1.37 for number in range(15)}

Chunk = Callable[[int], list[Record]]


def main() -> None:
    """Print decisions a second of each way, in turns, the best round of each, and the ratios.

    The wall's figure is this machine's as busy as it is now; that of work is what two cores for ourselves would give.
    """
    url = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.open(url or f"sqlite:///{directory}/weir.db")
        recorder, numbers = recorder_of(ledger), itertools.count()
        ways = ["COPY", "INSERT"] if ledger.engine.dialect.name == "postgresql" else ["INSERT"]
        server = backend_of(ledger)
        alone = in_turns(recorder, numbers, decided, ways, server)
        whole = in_turns(recorder, numbers, with_labels, ways, server)
        row, _ = timed(lambda: row_by_row(ledger, decided(next(numbers))), server)
        ledger.close()
    for way in ways:
        tell(f"recorder, batches of {BATCH} decisions, {way}", *alone[way])
        tell(f"the same with an alert for each hundredth and a label for each, {way}", *whole[way])
    sys.stdout.write(f"a row and a transaction at a time: {BATCH / row:,.0f} decisions/s\n")
    for way in ways[1:]:
        sys.stdout.write(f"COPY to {way}: {alone[way][0] / alone['COPY'][0]:.1f} x")
        sys.stdout.write(f", with labels {whole[way][0] / whole['COPY'][0]:.1f} x\n")
    sys.stdout.write(f"ratio: {row / BATCH / alone[ways[0]][0]:.1f}\n")


def in_turns(
    recorder: Recorder, numbers: itertools.count[int], chunk: Chunk, ways: list[str], server: Process | None
) -> dict[str, tuple[float, float]]:
    """By way: seconds a decision, by the wall and of work, in its best round."""
    rounds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    least = bulk.LEAST
    for _ in range(ROUNDS):
        for way in ways:
            bulk.LEAST = least if way == "COPY" else sys.maxsize
            chunks = [chunk(next(numbers)) for _ in range(BATCHES)]
            wall, busy = timed(lambda chunks=chunks: [recorder.record(each) for each in chunks], server)  # type: ignore[misc]
            rounds[way].append((wall / BATCH / BATCHES, busy / BATCH / BATCHES))
    bulk.LEAST = least
    return {way: min(each) for way, each in rounds.items()}


def backend_of(ledger: Ledger) -> Process | None:
    """The server's process that works for us, where it is on this machine."""
    if ledger.engine.dialect.name != "postgresql" or ledger.engine.url.host not in ("127.0.0.1", "localhost"):
        return None
    with ledger.engine.connect() as db:
        return Process(db.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def tell(what: str, wall: float, busy: float) -> None:
    """One line."""
    sys.stdout.write(
        f"{what}: {1 / wall:,.0f} decisions/s; {busy * 1e6:.0f} us of work each, {1 / busy:,.0f}/s\n"
    )


def decided(number: int, alerting: int = BATCH) -> list[Record]:
    """A chunk of decisions as it comes from the log; one of so many alerts."""
    made = [
        decision(
            name,
            features=FEATURES,
            arrived_us=NOON_US + number,
            outcome="approve" if (each + 1) % alerting else "review",
        )
        for each, name in enumerate(names_of(number))
    ]
    return on_log("decisions", *made, first=number * BATCH)


def with_labels(number: int) -> list[Record]:
    """A chunk of decisions, one of a hundred with an alert, and of labels of them."""
    names = names_of(number)
    labels = [label(name, fraud=False) for name in names]
    return [*decided(number, alerting=100), *on_log("labels", *labels, first=number * BATCH)]


def names_of(number: int) -> list[str]:
    """Ids in no order, as they are in life."""
    return [f"event-{(number * BATCH + each) * 7919 % 1_000_003:07d}" for each in range(BATCH)]


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
