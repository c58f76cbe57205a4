"""A schedule: what is sent and when, and what breaks and when. A function of its seed, and small enough to shrink."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from stream import crash_points
from tests.simulation.story import Input, Story

AFTERWARDS = 700
"""By this step everything has been sent, and the last fault has happened."""

POINTS = {
    "before apply": ("kill",),
    "after apply": ("kill", "fail"),
    "before produce": ("kill", "fail"),
    "after produce": ("kill", "fail", "twice"),
    "before commit": ("kill",),
    "after commit": ("kill",),
    "before publish": ("kill", "fail"),
    "after publish": ("kill", "fail"),
    "statement": ("kill",),
    "before sql commit": ("kill", "fail"),
    "after sql commit": ("kill", "fail"),
    **dict.fromkeys(crash_points.POINTS, ("kill",)),
}
"""Where a process can be made to die, or be answered with an error. Those of stream.crash_points are among them."""

OFTEN = {"statement": 120, "before apply": 40, "after apply": 25, "before produce": 30, "after produce": 30}
"""The passes among which one is drawn; of the others there are fewer."""

KINDS = (
    *("kill", "kill", "stop", "sleep", "sleep", "point", "point", "point", "point", "lose", "lose", "empty"),
    *("refuse", "sql down", "rebalance", "add", "remove", "swap"),
)
"""What breaks, as often as it is named here."""


@dataclass(frozen=True)
class Fault:
    """Something that breaks: at a step, or (point) when a place is passed for the so-many-th time."""

    kind: str
    at: int
    detail: str = ""
    number: int = 0


@dataclass(frozen=True)
class Schedule:
    """Everything that a run depends on."""

    seed: int
    inputs: tuple[tuple[int, Input], ...]  # step, record
    faults: tuple[Fault, ...]
    scorers: int
    recorders: int  # 0: neither SQL nor a learner, so that more schedules of the rest fit into a minute

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.scorers} scorers, {self.recorders} recorders"]
        lines += [
            f"  step {at:4}  {each.topic} {each.kind} {each.key}: {each.value.decode()[:100]}"
            for at, each in self.inputs
        ]
        return "\n".join(lines + [f"  {each}" for each in self.faults])


def schedule_of(seed: int) -> Schedule:
    """The schedule of a seed. One in eight breaks nothing."""
    chance = random.Random(seed)
    told = Story(chance).tell(chance.randint(8, 24))
    steps = sorted(chance.randrange(AFTERWARDS * 2 // 3) for _ in told)
    faults = [_fault(chance) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4, 6)))]
    return Schedule(
        seed,
        tuple(zip(steps, told, strict=True)),
        tuple(sorted(faults, key=lambda fault: fault.at)),
        chance.choice((1, 2, 2, 3)),
        chance.choice((0, 0, 0, 0, 1, 2)),
    )


def _fault(chance: random.Random) -> Fault:
    at = chance.randrange(AFTERWARDS)
    kind = chance.choice(KINDS)
    if kind == "point":
        name = chance.choice(list(POINTS))
        return Fault(kind, chance.randint(1, OFTEN.get(name, 12)), f"{name}: {chance.choice(POINTS[name])}")
    if kind in ("kill", "stop", "sleep"):
        return Fault(kind, at, chance.choice(("score", "score", "record", "learn")), chance.randrange(3))
    if kind in ("add", "remove"):
        return Fault(kind, at, chance.choice(("score", "record")), chance.randrange(3))
    return Fault(kind, at, number=chance.randint(1, 6))


def shrunk(schedule: Schedule, red: Callable[[Schedule], bool]) -> Schedule:
    """A smaller schedule that is still red: faults and inputs left out one after the other, while it stays so."""
    while smaller := next((each for each in _smaller(schedule) if red(each)), None):
        schedule = smaller
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    for at in range(len(schedule.faults)):
        yield replace(schedule, faults=schedule.faults[:at] + schedule.faults[at + 1 :])
    for length in (8, 4, 2, 1):
        for at in range(0, len(schedule.inputs), length):
            yield replace(schedule, inputs=schedule.inputs[:at] + schedule.inputs[at + length :])
    if schedule.scorers > 1:
        yield replace(schedule, scorers=schedule.scorers - 1)
    if schedule.recorders > 1:
        yield replace(schedule, recorders=schedule.recorders - 1)
