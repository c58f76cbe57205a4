"""Members of a consumer group on Kafka that die, sleep, come and go."""

from __future__ import annotations

import signal
import time

from stream.agents import SETTINGS
from tests.chaos.fault import KAFKA, fault
from tests.chaos.stage import Stage
from tests.chaos.worker import Worker, eventually

SESSION_SECONDS = float(SETTINGS["broker_session_timeout"])


def scorers(stage: Stage, count: int, share: float = 0.15) -> list[Worker]:
    """So many scorers at work, under load."""
    stage.load_seconds = 20.0
    made = [stage.worker("score") for _ in range(count)]
    stage.begin()
    stage.after(share)
    return made


@fault(on=KAFKA, partitions=2)
def zombie(stage: Stage) -> str:
    """A scorer sleeps (SIGSTOP) for longer than its session, others take over, and it wakes up again."""
    sleeper = stage.chance.choice(scorers(stage, 2))
    sleeper.send(signal.SIGSTOP)
    stage.after(0.4)  # by the other one, once the session is over
    time.sleep(SESSION_SECONDS)
    sleeper.send(signal.SIGCONT)
    stage.moment(2.0)
    return f"for {SESSION_SECONDS:g} s and more"


@fault(on=KAFKA, partitions=4)
def rolling_restart(stage: Stage) -> str:
    """One scorer after the other is restarted (SIGTERM), as in a deployment."""
    workers = scorers(stage, 3)
    for worker in workers:
        worker.send(signal.SIGTERM)
        eventually(lambda: worker.ends, "it ended")  # noqa: B023
        stage.moment(3.0)
    return f"{len(workers)} scorers"


@fault(on=KAFKA, partitions=4)
def members_come_and_go(stage: Stage) -> str:
    """Scorers are added and removed under load."""
    first = scorers(stage, 1)[0]
    stage.moment()
    stage.worker("score")
    stage.after(0.3)
    third = stage.worker("score")
    stage.moment(3.0)
    first.stop()
    stage.after(0.5)
    third.stop(signal.SIGKILL)
    stage.workers = [each for each in stage.workers if each not in (first, third)]
    stage.worker("score")
    return "one, two, three, two, one, two"


@fault(on=KAFKA, partitions=2)
def more_members_than_partitions(stage: Stage) -> str:
    """Three scorers share two partitions, and one that works is killed."""
    workers = scorers(stage, 3)
    for worker in stage.chance.sample(workers, 2):
        worker.send(signal.SIGKILL)
        stage.moment(1.0)
    return "two of three are killed"


@fault(on=KAFKA, partitions=2)
def kafka_roles_killed(stage: Stage) -> str:
    """On Kafka each role is killed at crash points, with another member of its group beside it."""
    stage.load_seconds = 30.0
    points = {
        role: f"{role}.{stage.chance.choice(names)}:{stage.chance.randint(1, 2)}:KILL"
        for role, names in (
            ("score", ("taken", "applied", "answered", "sent")),
            ("record", ("taken", "written", "committed")),
            ("learn", ("taken", "learned", "written", "committed")),
        )
    }
    broken = [
        stage.worker(role, point, f"commit.begun:{stage.chance.randint(1, 3)}:KILL")
        for role, point in points.items()
    ]
    stage.worker("score")
    stage.worker("record")
    stage.begin()
    eventually(lambda: all(worker.ends for worker in broken), f"{points} were reached")
    return ", ".join(points.values())


@fault(on=KAFKA, partitions=2)
def keepers_asleep(stage: Stage) -> str:
    """The recorder and the learner sleep for longer than their sessions, others take over, and they wake up again."""
    stage.load_seconds = 20.0
    sleepers = [stage.worker(role) for role in ("record", "learn")]
    others = [stage.worker(role) for role in ("score", "record", "learn")]
    stage.begin()
    stage.after(0.15)
    for each in sleepers:
        each.send(signal.SIGSTOP)
    stage.after(0.5)  # the scorer goes on, and those who stood by take over
    time.sleep(SESSION_SECONDS)
    for each in sleepers:
        each.send(signal.SIGCONT)
    stage.moment(2.0)
    return f"for {SESSION_SECONDS:g} s and more, {len(others)} go on"
