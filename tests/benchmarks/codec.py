"""Decoding and mapping an event: ours against json.loads and a plain mapping, in one run.

usage: python -m tests.benchmarks.codec
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b

import msgspec

from features.events import Transaction, to_us
from features.profile import load
from stream.codec import Codec
from stream.decisions import TRANSACTIONS
from stream.records import ARRIVED, Record
from stream.simulate.generator import Settings, Simulator

EVENTS = 2_000
ROUNDS = 7


def main() -> None:
    """Print microseconds an event of both, and their ratio."""
    records = simulated()
    codec = Codec(load("payments"))
    assert [plainly(each) for each in records] == [forgiving(codec, each) for each in records]
    ours = seconds(lambda: codec.decode_many(records))
    plain = seconds(lambda: [plainly(each) for each in records])
    write = sys.stdout.write
    write(f"codec, decode_many of {EVENTS:,} payments: {ours * 1e6:.1f} us an event\n")
    write(f"json.loads and a plain mapping without checks: {plain * 1e6:.1f} us an event\n")
    write(f"ratio: {plain / ours:.2f}\n")


def simulated() -> list[Record]:
    """Payments of the simulator, as they stand on the log."""
    payments = Simulator(Settings(per_day=EVENTS + 500)).day(0)[:EVENTS]
    return [
        Record(
            TRANSACTIONS, 0, number, b"", json.dumps(each.raw).encode(), ((ARRIVED, b"%d" % each.at_us),), 0
        )
        for number, each in enumerate(payments)
    ]


def plainly(record: Record) -> Transaction:
    """What a first version would do: it trusts its input, and names no field that is wrong."""
    raw = json.loads(record.value)
    arrived = int(dict(record.headers)[ARRIVED])
    time_us = to_us(datetime.fromisoformat(raw["at"]).astimezone(UTC))
    amount = int((Decimal(str(raw["amount"])) * 100).to_integral_value())
    entities = (str(raw["card"]), str(raw["merchant"]), str(raw["device"]))
    fields = {name: raw[name] for name in ("channel", "country")}
    body = blake2b(json.dumps([time_us, amount, raw["currency"], entities, fields]).encode(), digest_size=8)
    return Transaction(raw["id"], time_us, arrived, amount, raw["currency"], entities, fields, body.digest())


def forgiving(codec: Codec, record: Record) -> Transaction:
    """Ours, with the other's digest: that is the one thing in which they may differ."""
    event = codec.decode(record)
    assert isinstance(event, Transaction), event
    return msgspec.structs.replace(event, body=plainly(record).body)


def seconds(work: Callable[[], object]) -> float:
    """Per event, the best of some rounds: others' work on the machine only ever adds."""
    return min(timeit.repeat(work, number=1, repeat=ROUNDS)) / EVENTS


if __name__ == "__main__":
    main()
