"""A Quix Streams app, as its documentation writes one: payments in, a state that counts them by card, counts out.

usage: python -m tests.benchmarks.stock.quix_app   (STOCK_* in the environment)
"""

from __future__ import annotations

import os
from typing import Any

from quixstreams import Application, State


def count(payment: dict[str, Any], state: State) -> dict[str, Any]:
    """Count a payment for its card, which is its key."""
    total = state.get("total", 0) + 1
    state.set("total", total)
    return {"id": payment["id"], "count": total}


def main() -> None:
    """Run until a signal ends it."""
    prefix = os.environ["STOCK_PREFIX"]
    app = Application(
        broker_address=os.environ["STOCK_BROKER"],
        consumer_group=f"{prefix}counts",
        auto_offset_reset="earliest",
        processing_guarantee=os.environ["STOCK_GUARANTEE"],
        state_dir=os.environ["STOCK_DIRECTORY"],
        consumer_extra_config={"session.timeout.ms": 1000 * int(os.environ["STOCK_SESSION"])},
    )
    payments = app.topic(f"{prefix}transactions", value_deserializer="json")
    counted = app.topic(f"{prefix}counted", value_serializer="json")
    app.dataframe(payments).apply(count, stateful=True).to_topic(counted)
    app.run()


if __name__ == "__main__":
    main()
