"""Weir's own code between simulated edges: whatever breaks, whenever, the same comes out by id as if nothing had."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulation.run import Simulation, red
from tests.simulation.schedule import Fault, schedule_of, shrunk
from tests.simulation.wiring import wired

QUICK = 80
MANY = int(os.environ.get("WEIR_SCHEDULES", "10000"))
FIRST = int(os.environ.get("WEIR_SEED", "0"))


def test_whatever_breaks_nothing_is_lost_twice_or_extra():
    told = red(range(FIRST, FIRST + QUICK))
    assert told is None, told


@pytest.mark.slow
def test_ten_thousand_schedules():
    workers = os.cpu_count() or 1
    shares = [range(FIRST + share, FIRST + MANY, workers) for share in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        told = [each for each in pool.map(red, shares) if each is not None]
    assert not told, told[0]


@pytest.mark.slow
def test_a_seed_tells_the_same_story_in_every_process():
    """Else what a seed finds could not be looked at."""
    code = """
from tests.simulation.run import Simulation
from tests.simulation.schedule import schedule_of
from tests.simulation.wiring import wired
with wired():
    print([Simulation().trace_of(schedule_of(seed)) for seed in (11, 12, 13)])
"""
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_schedules_reach_what_they_are_to_break():
    """Faults, losses and redeliveries do happen: a simulation in which nothing breaks shows nothing."""
    missing = {"killed", "crashed", "stopped", "StoreBehind", "lost state", "decided again", "zombie refused"}
    with wired():
        simulation = Simulation()
        for seed in range(1000):
            missing -= simulation.seen_in(schedule_of(seed))
            if not missing:
                break
    assert not missing


def test_a_red_schedule_is_made_small():
    whole = next(each for each in map(schedule_of, range(100)) if len(each.faults) > 3)
    needed = whole.faults[2]

    small = shrunk(whole, lambda each: needed in each.faults and len(each.inputs) > 2)
    assert small.faults == (needed,)
    assert isinstance(needed, Fault)
    assert len(small.inputs) == 3
    assert small.scorers == 1
