"""How long after a kill the first decision comes; that it is right, the verdict says."""

from __future__ import annotations

import signal
import time

from tests.chaos.fault import KAFKA, fault
from tests.chaos.members import SESSION_SECONDS
from tests.chaos.stage import Stage
from tests.chaos.worker import eventually

KILLS = 3
GRACE_SECONDS = 2.0
"""Beyond the session's timeout, in which Kafka gives a dead member's partitions to nobody."""


@fault()
def recovery(stage: Stage) -> str:
    """The one scorer of an embedded log is killed, and started again as a user would."""
    return recovered(stage, 10.0)


@fault(on=KAFKA, partitions=2)
def recovery_on_kafka(stage: Stage) -> str:
    """The one scorer of a group on Kafka is killed, and started again as a user would."""
    return recovered(stage, SESSION_SECONDS + GRACE_SECONDS)


def recovered(stage: Stage, limit: float) -> str:
    """Kill, and wait for the next decision, again and again; raises AssertionError where it takes longer."""
    stage.load_seconds = 60.0
    worker = stage.worker("score", nursery=False)
    stage.begin()
    stage.after(0.05)
    took = []
    for _ in range(KILLS):
        stage.moment(1.0)
        killed = time.monotonic()
        worker.send(signal.SIGKILL)
        eventually(lambda: len(worker.ends) > len(took), "it died", pause=0.001)
        before = stage.decided()
        eventually(lambda: stage.decided() > before, "it decides again", pause=0.01)  # noqa: B023
        took.append(time.monotonic() - killed)
    stage.hurry()
    told = ", ".join(f"{seconds:.1f} s" for seconds in took)
    if max(took) > limit:
        raise AssertionError(
            f"it took {told} until the first decision after a kill; at most {limit:g} s are allowed"
        )
    return f"the first decision came {told} after a kill (at most {limit:g} s)"
