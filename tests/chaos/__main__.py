"""The fault matrix: ``python -m tests.chaos [--seed N] [--fault NAME ...] [--short] [--list]``; see ``make chaos``.

Each fault breaks real processes and servers under load; what comes out is compared, by id, with the same input undisturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from stream.records import Record
from tests.chaos import brokers, ends, members, recovery, retention, stores  # noqa: F401 - they put their faults on the list
from tests.chaos.fault import FAULTS, Fault
from tests.chaos.oracle import Oracle
from tests.chaos.places import NotHere, Places
from tests.chaos.stage import Stage
from tests.chaos.story import Arrival, story
from tests.chaos.verdict import judge, learned, readable, seen
from tests.chaos.worker import eventually


class Outcome(NamedTuple):
    """How a run ended."""

    fault: Fault
    broken: str
    troubles: Sequence[str]
    seconds: float
    skipped: str = ""


def main() -> int:
    """Run what was asked for; the exit status is the number of faults that were not withstood."""
    asked = arguments()
    if asked.list:
        for each in FAULTS.values():
            print(f"{each.name:32} {each.on:9} {each.what}")  # noqa: T201
        return 0
    seed = asked.seed if asked.seed is not None else random.randrange(1_000_000)
    chosen = [FAULTS[name] for name in asked.fault] or [
        each for each in FAULTS.values() if each.short or not asked.short
    ]
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {seed}: {len(chosen)} faults; replay one with: make chaos SEED={seed} FAULT=NAME")
    outcomes = run(chosen, seed, console, keep=asked.keep)
    console.print(table(outcomes))
    failed = [each for each in outcomes if each.troubles]
    for each in failed:
        console.print(f"replay: make chaos SEED={seed} FAULT={each.fault.name}", markup=False)
    return len(failed)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, help="draws the story, the moments and the crash points")
    parser.add_argument("--fault", action="append", default=[], choices=sorted(FAULTS), metavar="NAME")
    parser.add_argument("--short", action="store_true", help="the few that every build runs")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--keep", action="store_true", help="keep the directory of a run that failed")
    return parser.parse_args()


def run(chosen: Sequence[Fault], seed: int, console: Console, *, keep: bool) -> list[Outcome]:
    """One run after the other, each with servers, directories and a story of its own."""
    arrivals = story(seed)
    outcomes = []
    with Places() as places, tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        oracle = Oracle(as_records(arrivals), Path(directory))
        for each in chosen:
            outcomes.append(one(each, seed, arrivals, oracle, places, keep=keep))
            console.print(line(outcomes[-1]), markup=False)
            sys.stdout.flush()
    return outcomes


def one(
    fault: Fault, seed: int, arrivals: Sequence[Arrival], oracle: Oracle, places: Places, *, keep: bool
) -> Outcome:
    """Break one thing, and see what came of it."""
    began, broken, troubles, skipped = time.monotonic(), "", [], ""
    place = Path(tempfile.mkdtemp(prefix="chaos-"))  # a socket's path must be short
    try:
        with places.stage(fault, place, oracle, arrivals, random.Random(f"{seed} {fault.name}")) as stage:
            broken, troubles = play(fault, stage)
    except NotHere as reason:
        skipped = str(reason)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run did not go well, and the others go on
        troubles = [f"{type(error).__name__}: {error}", traceback.format_exc()]
    if keep and troubles:
        troubles = [*troubles, f"all of it is in {place}"]
    else:
        shutil.rmtree(place, ignore_errors=True)
    return Outcome(fault, broken, troubles, time.monotonic() - began, skipped)


def play(fault: Fault, stage: Stage) -> tuple[str, list[str]]:
    """The fault, the wait until all is done, and the verdict."""
    broken = fault.run(stage)
    if not fault.judged:
        return broken, stage.stop_workers()
    stage.settle()
    if stage.of("learn"):
        taught(stage)
    ended = stage.stop_workers()
    return broken, ended + judge(stage)


def taught(stage: Stage) -> None:
    """A label whose decision was not recorded yet is learned some seconds later, though nothing else comes."""
    with suppress(TimeoutError):  # the verdict says what is missing
        eventually(lambda: not learned(stage, seen(stage, readable(stage))), "all is learned", 20.0, 1.0)


def as_records(arrivals: Sequence[Arrival]) -> list[Record]:
    """The story as a log of one partition a topic would hold it."""
    counts: Counter[str] = Counter()
    records = []
    for each in arrivals:
        offset, record = counts[each.topic], each.record
        records.append(
            Record(each.topic, 0, offset, record.key, record.value, record.headers, each.at_us // 1_000)
        )
        counts[each.topic] += 1
    return records


def line(outcome: Outcome) -> str:
    """One outcome, as soon as it is known."""
    verdict = "skipped" if outcome.skipped else "FAILED" if outcome.troubles else "ok"
    more = "\n    ".join(outcome.troubles)
    return f"{verdict:7} {outcome.fault.name:32} {outcome.seconds:5.1f} s  {outcome.skipped}{more}"


def table(outcomes: Sequence[Outcome]) -> Table:
    """What was broken, and the verdicts."""
    made = Table("fault", "on", "what was broken", "s", "verdict")
    for each in outcomes:
        verdict = (
            f"skipped: {each.skipped}"
            if each.skipped
            else "[green]nothing lost, nothing twice, no extra alert"
        )
        if each.troubles:
            verdict = f"[red]{len(each.troubles)} troubles"
        what = f"{each.fault.what} {each.broken}"
        made.add_row(each.fault.name, each.fault.on, what, f"{each.seconds:.0f}", verdict)
    return made


if __name__ == "__main__":
    os.environ.pop("WEIR_CRASH_AT", None)
    sys.exit(min(main(), 100))
