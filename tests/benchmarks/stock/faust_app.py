"""A stock Faust app, as its documentation writes one: payments in, a table that counts them by card, counts out.

usage: python -m tests.benchmarks.stock.faust_app worker --without-web   (STOCK_* in the environment)
"""

from __future__ import annotations

import os

import faust

PREFIX, PARTITIONS = os.environ["STOCK_PREFIX"], int(os.environ["STOCK_PARTITIONS"])

app = faust.App(
    f"{PREFIX}counts",
    broker=f"kafka://{os.environ['STOCK_BROKER']}",
    datadir=os.environ["STOCK_DIRECTORY"],
    processing_guarantee=os.environ["STOCK_GUARANTEE"],
    store="rocksdb://" if os.environ.get("STOCK_STORE") == "rocksdb" else "memory://",
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    broker_session_timeout=int(os.environ["STOCK_SESSION"]),
)


class Payment(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
    """A payment, the fields that are read."""

    id: str
    card: str


payments = app.topic(f"{PREFIX}transactions", key_type=str, value_type=Payment)
counted = app.topic(f"{PREFIX}counted", key_type=str, value_serializer="json")
counts = app.Table(f"{PREFIX}by-card", default=int)


@app.agent(payments)
async def count(stream: faust.Stream[Payment]) -> None:
    """Count each payment for its card, and say so."""
    async for payment in stream:
        counts[payment.card] += 1
        await counted.send(key=payment.card, value={"id": payment.id, "count": counts[payment.card]})


if __name__ == "__main__":
    app.main()
