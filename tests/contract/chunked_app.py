"""A worker to be killed: two topics in, chunk by chunk, what was done out, on whichever log.

usage: python -m tests.contract.chunked_app BROKER DATADIR [--fail-at VALUE]

It reads ``a`` and ``b`` and sends every value on to ``out``, headed by where it came from. Between the two it takes
its time, and it commits often, so that a signal finds it in mid-chunk just after a commit. ``--fail-at`` raises in the
chunk that holds the value. CHUNKED_APP_PREFIX in the environment is put before the topics' and the group's names.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

from stream.agents import guarded, make_app, outlet_for, serve
from stream.chunks import chunks
from stream.records import Outgoing

GROUP = "weir-test"


def main(broker: str, datadir: Path, fail_at: bytes | None = None) -> None:
    """Run until a signal."""
    prefix = os.environ.get("CHUNKED_APP_PREFIX", "")
    app = make_app(prefix + GROUP, broker, datadir)
    app.conf.broker_commit_interval = 0.01
    app.conf.broker_max_poll_records = 50
    outlet = outlet_for(app, prefix)

    @app.agent(app.topic(prefix + "a", prefix + "b"))
    @guarded
    async def forward(stream: Any) -> None:
        async for chunk in chunks(stream):
            await asyncio.sleep(random.uniform(0, 0.03))
            if any(record.value == fail_at for record in chunk.records):
                raise RuntimeError("told to fail")
            source = chunk.tp.topic.removeprefix(prefix).encode()
            await outlet.send({"out": [Outgoing(r.key, r.value, (("from", source),)) for r in chunk.records]})
            await asyncio.sleep(random.uniform(0, 0.01))
            chunk.done()

    asyncio.run(serve(app))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[4].encode() if "--fail-at" in sys.argv else None)
