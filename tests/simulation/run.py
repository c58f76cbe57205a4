"""Runs schedules, and makes of a red one the smallest that is still red."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterable

from tests.simulation.check import seen, violations
from tests.simulation.schedule import Schedule, schedule_of, shrunk
from tests.simulation.sql import Sql
from tests.simulation.wiring import wired
from tests.simulation.world import World

REPLAY = "python -m tests.simulation --seed {}"


class Simulation:
    """One database for many schedules."""

    def __init__(self) -> None:
        self._sql = Sql()

    def broken_by(self, schedule: Schedule) -> list[str]:
        """What a schedule breaks."""
        world = World(schedule, self._sql)
        try:
            world.run()
        except Exception:  # noqa: BLE001 - a fault in what runs outside of any guard is a finding too
            return [traceback.format_exc()]
        return violations(world)

    def trace_of(self, schedule: Schedule) -> tuple[int, float, list[tuple[str, int]]]:
        """How a run went: equal for equal schedules."""
        world = World(schedule, self._sql)
        world.run()
        ended = [(process.role, process.slot) for process in world.ended]
        return world.step, world.clock.now, [*sorted(world.passed.items()), *ended]

    def seen_in(self, schedule: Schedule) -> set[str]:
        """What happened in a run, by name."""
        world = World(schedule, self._sql)
        world.run()
        return seen(world)

    def first_red(self, seeds: Iterable[int]) -> tuple[Schedule, list[str]] | None:
        """The first schedule of these seeds that breaks something, and what."""
        gc.disable()
        try:
            for count, seed in enumerate(seeds):
                schedule = schedule_of(seed)
                if broken := self.broken_by(schedule):
                    return schedule, broken
                if count % 50 == 49:
                    gc.collect()
        finally:
            gc.enable()
        return None

    def told(self, schedule: Schedule) -> str:
        """A red schedule for people: made small, with what it breaks and the command that shows it again."""
        small = shrunk(schedule, lambda each: bool(self.broken_by(each)))
        broken = "\n".join(f"  {each}" for each in self.broken_by(small))
        return f"{small}\nbreaks:\n{broken}\nagain: {REPLAY.format(schedule.seed)}"


def red(seeds: Iterable[int]) -> str | None:
    """The first red schedule of these seeds, told; None where all are green."""
    with wired():
        simulation = Simulation()
        found = simulation.first_red(seeds)
        return None if found is None else simulation.told(found[0])
