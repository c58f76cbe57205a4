"""Five times what the workers can do: their memory before, during and after, what waits, and how long it takes to drain.

usage: python -m tests.benchmarks.overload [--seconds N]

On the embedded log, and on Kafka where KAFKA_BOOTSTRAP names one or KAFKA_HOME has the jars. All three roles run.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from stream.bootstrap import TOPICS
from stream.broker import ensure_topics
from tests.acceptance.drill import Drill
from tests.acceptance.overload import TIMES, Measured, overload
from tests.benchmarks.handbook import say
from tests.benchmarks.kafka import broker

MEGABYTE = 1 << 20


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of full load, and of overload")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        show("embedded log", measured(Path(name, "embedded"), options.seconds))
        if os.environ.get("KAFKA_BOOTSTRAP") or os.environ.get("KAFKA_HOME"):
            with broker(Path(name)) as servers:
                show("Kafka", on_kafka(Path(name, "weir"), servers, options.seconds))


def on_kafka(home: Path, servers: str, seconds: float) -> Measured:
    """On topics of its own, of four partitions."""
    prefix = f"overload-{uuid4().hex[:8]}-"
    ensure_topics(f"kafka://{servers}", {prefix + name: 4 for name in TOPICS})
    return measured(home, seconds, WEIR_BROKER=f"kafka://{servers}", WEIR_TOPIC_PREFIX=prefix)


def measured(home: Path, seconds: float, **environment: str) -> Measured:
    """Three workers, loaded and overloaded."""
    drill: Any = Drill(home, "payments", "", **environment)
    drill.start()
    try:
        found: Measured = overload(drill, seconds)
    finally:
        drill.kill()
    return found


def show(where: str, found: Measured) -> None:
    """A few lines."""
    say(f"{where}: {found.rate:,.0f} events/s through all three roles; then {TIMES} times that at once")
    say(f"  {found.backlog:,} events waited; all drained after {found.drain_seconds:.0f} s")
    say(f"  {found.sent:,} sent, {found.recorded:,} recorded, {found.dead:,} dead letters")
    for role, growth in found.growth.items():
        before, most = found.steady[role] / MEGABYTE, found.highest[role] / MEGABYTE
        say(f"  {role:<8}{before:6.0f} MB at full load, {most:6.0f} MB at most after that: x {growth:.2f}")


if __name__ == "__main__":
    main()
