"""A worker to be killed: two topics in, chunk by chunk, what was done out, on whichever log.

usage: python -m tests.contract.chunked_app BROKER DATADIR [--fail-at VALUE] [--first COUNT]

It reads ``a`` and ``b`` and sends every value on to ``out``, headed by where it came from. Between the two it takes
its time, and it commits often, so that a signal finds it in mid-chunk just after a commit. ``--fail-at`` raises in the
chunk that holds the value. ``--first`` leaves ``b`` in the log until so many records of ``a`` are done.
CHUNKED_APP_PREFIX in the environment is put before the topics' and the group's names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
from pathlib import Path
from typing import Any

from stream.agents import guarded, make_app, outlet_for, serve
from stream.chunks import chunks, hold_back
from stream.records import Outgoing

GROUP = "weir-test"


def main() -> None:
    """Run until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("broker")
    parser.add_argument("datadir", type=Path)
    parser.add_argument("--fail-at", type=str.encode)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    prefix = os.environ.get("CHUNKED_APP_PREFIX", "")
    app = make_app(prefix + GROUP, asked.broker, asked.datadir)
    app.conf.broker_commit_interval = 0.01
    app.conf.broker_max_poll_records = 50
    outlet = outlet_for(app, prefix)

    @app.agent(app.topic(prefix + "a", prefix + "b"))
    @guarded
    async def forward(stream: Any) -> None:
        done = 0
        async for chunk in chunks(stream):
            await asyncio.sleep(random.uniform(0, 0.03))
            if any(record.value == asked.fail_at for record in chunk.records):
                raise RuntimeError("told to fail")
            source = chunk.tp.topic.removeprefix(prefix).encode()
            await outlet.send({"out": [Outgoing(r.key, r.value, (("from", source),)) for r in chunk.records]})
            await asyncio.sleep(random.uniform(0, 0.01))
            chunk.done()
            done += len(chunk.records) if source == b"a" else 0
            hold_back(app.consumer, prefix + "b", done < asked.first)

    asyncio.run(serve(app))


if __name__ == "__main__":
    main()
