"""Kafka itself fails: brokers end, a cluster loses one or all, and the network loses an answer."""

from __future__ import annotations

import signal
import time

from tests.chaos.fault import CLUSTER, KAFKA, LOSSY, fault
from tests.chaos.stage import Stage


def all_roles(stage: Stage) -> None:
    """All roles at work, under load."""
    stage.load_seconds = 15.0
    for role in ("score", "record", "learn"):
        stage.worker(role)
    stage.begin()
    stage.after(0.1)


@fault(on=KAFKA, partitions=2, short=True)
def broker_restarted(stage: Stage) -> str:
    """The broker is stopped in good order and started again."""
    all_roles(stage)
    return again(stage, signal.SIGTERM)


@fault(on=KAFKA, partitions=2)
def broker_killed(stage: Stage) -> str:
    """The broker is killed and started again, twice."""
    all_roles(stage)
    again(stage, signal.SIGKILL)
    stage.after(0.3)
    return again(stage, signal.SIGKILL)


def again(stage: Stage, number: signal.Signals) -> str:
    """End the broker, and start it after a while."""
    (broker,) = stage.brokers
    broker.stop(number)
    stage.moment(3.0)
    broker.start()
    return f"by {number.name}"


@fault(on=CLUSTER, partitions=2)
def one_broker_of_three_gone(stage: Stage) -> str:
    """One broker of three is killed, and comes back later."""
    all_roles(stage)
    number = stage.chance.randrange(3)
    stage.brokers[number].stop(signal.SIGKILL)
    time.sleep(8.0)
    stage.brokers[number].start()
    return f"broker {number + 1}"


@fault(on=CLUSTER, partitions=2)
def all_brokers_gone(stage: Stage) -> str:
    """All brokers are killed, stay away for half a minute, and come back."""
    all_roles(stage)
    for broker in stage.brokers:
        broker.stop(signal.SIGKILL)
    time.sleep(35.0)  # longer than a producer waits for its answer
    for broker in stage.brokers:
        broker.launch()
    for broker in stage.brokers:
        broker.wait()
    return "for 35 s"


@fault(on=LOSSY, partitions=2)
def answers_lost(stage: Stage) -> str:
    """The broker acknowledges what was produced, and the answer is lost, again and again."""
    all_roles(stage)
    for share in (0.2, 0.3, 0.4, 0.5):
        stage.proxy.lose(stage.chance.randint(1, 3))
        stage.after(share)
    return f"{stage.proxy.lost} answers"
