"""Processes that end: at every crash point, in bursts, and that stand still, on the embedded log."""

from __future__ import annotations

import signal
from collections import Counter

import msgspec

from stream.crash_points import POINTS
from stream.decisions import TRANSACTIONS
from tests.chaos.fault import fault
from tests.chaos.stage import Stage
from tests.chaos.story import Arrival
from tests.chaos.worker import POISON, Worker, eventually

ROLES = ("score", "record", "learn")


@fault(short=True)
def score_killed(stage: Stage) -> str:
    """The score role is killed (SIGKILL) at every crash point, one life after the other."""
    return ends_at_every_point(stage, "score", "KILL")


@fault()
def score_stopped(stage: Stage) -> str:
    """The score role gets SIGTERM at every crash point."""
    return ends_at_every_point(stage, "score", "TERM")


@fault(short=True)
def record_killed(stage: Stage) -> str:
    """The recorder is killed at every crash point."""
    return ends_at_every_point(stage, "record", "KILL")


@fault()
def record_stopped(stage: Stage) -> str:
    """The recorder gets SIGTERM at every crash point."""
    return ends_at_every_point(stage, "record", "TERM")


@fault(short=True)
def learn_killed(stage: Stage) -> str:
    """The learner is killed at every crash point."""
    return ends_at_every_point(stage, "learn", "KILL")


@fault()
def learn_stopped(stage: Stage) -> str:
    """The learner gets SIGTERM at every crash point."""
    return ends_at_every_point(stage, "learn", "TERM")


def ends_at_every_point(stage: Stage, role: str, kind: str) -> str:
    """Run the roles that this one needs, and end it once at each of its points, in an order that chance gives."""
    points = [point for point in POINTS if point.partition(".")[0] in (role, "commit")]
    stage.chance.shuffle(points)
    crashes = [f"{point}:{_times(stage, role, life)}:{kind}" for life, point in enumerate(points)]
    stage.load_seconds = 60.0  # long enough for all lives; then it hurries
    for other in ROLES[: ROLES.index(role)]:
        stage.worker(other)
    broken = stage.worker(role, *crashes)
    stage.begin()
    eventually(lambda: len(broken.ends) >= len(crashes), f"all of {crashes} were reached")
    stage.hurry()
    wanted = {-signal.SIGKILL} if kind == "KILL" else {0, -signal.SIGTERM}
    if not set(broken.ends) <= wanted:
        raise AssertionError(f"{role} ended with {broken.ends}, not at its crash points {crashes}")
    return f"{role}: {', '.join(crashes)}"


def _times(stage: Stage, role: str, life: int) -> int:
    """The how manieth time a point is reached is fatal.

    Not the first in two lives that follow each other: if one record is in hand again and again when a worker is killed, nobody
    can tell that from a record that kills, and it is set aside (stream.attempts).
    """
    if role == "learn":  # it keeps what it learned every five seconds only
        return 1
    return stage.chance.randint(1, 3) + life % 2


@fault()
def kills_in_bursts(stage: Stage) -> str:
    """All roles are killed at random moments, some of them several times within a second."""
    workers = begin_all(stage)
    stage.load_seconds = 15.0
    count = 0
    for _ in range(4):
        stage.moment(3.0)
        for _ in range(stage.chance.randint(1, 3)):
            for worker in stage.chance.sample(workers, stage.chance.randint(1, 3)):
                worker.send(signal.SIGKILL)
                count += 1
            stage.moment(0.4)
    return f"{count} kills, {sum(len(worker.ends) for worker in workers)} of them while the role ran"


@fault()
def standing_still(stage: Stage) -> str:
    """Each role is stopped (SIGSTOP) for seconds, and goes on."""
    for worker in stage.chance.sample(begin_all(stage), 3):
        stage.moment()
        worker.send(signal.SIGSTOP)
        stage.moment(3.0)
        worker.send(signal.SIGCONT)
    return "score, record and learn, one after the other"


@fault(short=True)
def poisoned_event(stage: Stage) -> str:
    """An event at which the scorer raises what nobody expected: it is set aside, and everything else goes on."""
    return poisoned(stage, "raise")


@fault()
def deadly_event(stage: Stage) -> str:
    """An event that kills the scorer without a word."""
    return poisoned(stage, "kill")


def poisoned(stage: Stage, how: str) -> str:
    """Choose an event that comes once, and let every scorer end at it."""
    came = Counter(msgspec.json.decode(each.record.value)["id"] for each in readable(stage))
    alone = [name for name, times in came.items() if times == 1 and name != "the-last"]
    stage.poison = stage.chance.choice(alone)
    worker = stage.worker("score", **{POISON: f"{how}:{stage.poison}"})
    stage.begin()
    eventually(lambda: "is set aside as a dead letter" in worker.text(), "it is set aside")
    if len(worker.ends) > 6:
        raise AssertionError(f"it took {len(worker.ends)} workers to find it")
    return f"{stage.poison}, found after {len(worker.ends)} workers ended"


def readable(stage: Stage) -> list[Arrival]:
    """The payments of the story that have an id of their own."""
    return [
        each
        for each in stage.arrivals
        if each.topic == TRANSACTIONS and each.record.value.startswith(b'{"id":"pay-')
    ]


def begin_all(stage: Stage) -> list[Worker]:
    """All roles at work, under load."""
    workers = [stage.worker(role) for role in ROLES]
    stage.begin()
    stage.after(0.05)
    return workers
