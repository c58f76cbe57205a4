"""`weir replay` on the beginning of the handbook's file, one process: events a second, and where the time goes.

usage: python -m tests.benchmarks.replay [--rows ROWS] [--profile]

With the fifteen features of the book, labels a week late, and the model learning. Reading and mapping the file alone,
and computing the features alone, are timed in the same run. `--profile` adds a run under cProfile and lists what cost
most in it (its own cost weighs on short functions most).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from features.events import Label, Transaction
from features.profile import load as load_profile
from features.store import InMemoryFeatureStore
from stream.config import load
from stream.files import EventFile, Refused
from stream.reading_along import replayed
from tests.benchmarks import handbook
from tests.benchmarks.handbook import say

Batch = Sequence[Transaction | Label | Refused]
LISTED = 30


def main() -> None:
    """Print the command's own figure, its parts, and the profile if it is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000, help="of the file, from its beginning")
    parser.add_argument("--profile", action="store_true", help="list what cost most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        bench = Bench(Path(name), options.rows)
        bench.report()
        if options.profile:
            bench.profiled()


class Bench:
    """A part of the file, and ways to go through it."""

    def __init__(self, directory: Path, rows: int) -> None:
        """Cut the file."""
        self.directory = directory
        self.rows = rows
        self.profile = handbook.profile(directory)
        self.file = handbook.cut(directory / "part.parquet", 0, rows)

    def report(self) -> None:
        """Run the command, then its parts."""
        options = ("--profile", self.profile, "--json")
        began = time.perf_counter()
        told = msgspec.json.decode(
            handbook.weir("replay", self.file, *options, directory=self.directory / "weir")
        )
        whole = self.rows / (time.perf_counter() - began)
        say(
            f"weir replay, {self.rows:,} events: {told['events_per_second']:,.0f} events/s; with its start {whole:,.0f}"
        )
        batches: list[Batch] = []
        reading = self.timed(lambda: batches.extend(self.events().events()))
        store = InMemoryFeatureStore(load_profile(str(self.profile)).features)
        applying = self.timed(lambda: [store.apply(batch) for batch in batches])
        say(
            f"of which reading and mapping the file {reading:.1f} us an event, features (and labels) {applying:.1f} us"
        )

    def profiled(self) -> None:
        """The same in this process, under cProfile."""
        watch = cProfile.Profile()
        watch.runcall(self.replay)
        pstats.Stats(watch).strip_dirs().sort_stats("tottime").print_stats(LISTED)

    def replay(self) -> None:
        """What the command does, without its report."""
        profile = load_profile(str(self.profile))
        config = load({"dir": str(self.directory / "profiled")}, {}, Path("no.toml"))
        with replayed(config, profile, scores=None, decisions=None) as run:
            for batch in self.events().events():
                run.feed(batch)

    def events(self) -> EventFile:
        """The file, read anew."""
        return EventFile(self.file, load_profile(str(self.profile)))

    def timed(self, work: Callable[[], object]) -> float:
        """Microseconds an event."""
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) / self.rows * 1e6


if __name__ == "__main__":
    main()
