"""The log lets go of what a worker needs still: it says so and stops, and goes on where it is told to."""

from __future__ import annotations

import signal

from kafka import KafkaAdminClient, TopicPartition

from stream.decisions import TRANSACTIONS
from tests.chaos.fault import KAFKA, fault
from tests.chaos.stage import Stage
from tests.chaos.worker import Worker, eventually

SAID = "left the log"


@fault(on=KAFKA, judged=False)
def retention_while_away(stage: Stage) -> str:
    """Records leave the log unread while no worker runs: the next one refuses to start, unless it is told to go on."""
    worker = began(stage)
    worker.stop(signal.SIGKILL)
    stage.workers.remove(worker)
    return refused_then_accepted(stage, expired(stage))


@fault(on=KAFKA, judged=False)
def retention_overtakes(stage: Stage) -> str:
    """Records leave the log unread while a worker sleeps: it stops when it wakes up, and does not go on behind the gap."""
    worker = began(stage)
    worker.send(signal.SIGSTOP)
    up_to = expired(stage)
    worker.send(signal.SIGCONT)
    eventually(lambda: SAID in worker.text(), "the worker says so")
    worker.stop(signal.SIGKILL)
    stage.workers.remove(worker)
    return refused_then_accepted(stage, up_to)


def began(stage: Stage) -> Worker:
    """A scorer that has decided some of the story."""
    stage.load_seconds = 10.0
    worker = stage.worker("score")
    stage.begin()
    stage.after(0.1)
    return worker


def expired(stage: Stage) -> int:
    """Let the story go on for a while, then the log lets go of all but its last records, as retention does."""
    eventually(lambda: not stage.feeding, "all has arrived")
    place = TopicPartition(stage.log.prefix + TRANSACTIONS, 0)
    up_to = stage.log.count(TRANSACTIONS) - 5
    admin = KafkaAdminClient(bootstrap_servers=stage.brokers[0].bootstrap)
    admin.delete_records({place: up_to})
    admin.close()
    return up_to


def refused_then_accepted(stage: Stage, up_to: int) -> str:
    """A worker does not start, and names the gap; with WEIR_ACCEPT_GAP=1 one decides what is left."""
    worker = stage.worker("score")
    eventually(lambda: worker.ends and SAID in worker.text(), "the worker refuses to start")
    worker.stop(signal.SIGKILL)
    stage.workers.remove(worker)
    before = stage.decided()
    stage.worker("score", WEIR_ACCEPT_GAP="1")
    eventually(lambda: stage.log.settled("score"), "it goes on with what is left")
    if not before < stage.decided() <= before + 2 * 5 + 1_000:
        raise AssertionError(f"{stage.decided() - before} decisions after the gap")
    return f"up to offset {up_to}"
