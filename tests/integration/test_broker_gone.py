"""Workers whose broker is gone for good, or says nothing any more, end when they are asked to, and nothing is lost by it."""

import itertools
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import msgspec
import psutil
import pytest

from features.profile import load as load_profile
from stream.agents import CRASHED
from stream.broker import progress_for, publisher_for
from stream.crash_points import VARIABLE
from stream.kafka_admin import KafkaAdmin
from stream.records import ARRIVED, Outgoing
from stream.review.ledger import Ledger
from stream.simulate.generator import Settings, Simulator
from stream.topics import wanted
from tests.acceptance.harness import eventually, start
from tests.chaos.logs import READS
from tests.contract.valkey import Valkey
from tests.integration.kafka_server import KafkaServer, runnable
from tests.wanted import missing

PROFILE = load_profile("payments")
ROLES = ("score", "record", "learn")
PATIENCE = 30.0
"""How long an end may take on a busy machine; without a limit of ours it takes a minute, or for ever."""

IN_HAND = {"score": "score.answered:5", "record": "record.committed:1", "learn": "learn.committed:1"}
"""Where each role stands still with something in hand. The scorer has decided some by then: so the others have something."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    home = os.environ.get("KAFKA_HOME")
    if not home:
        missing("kafka-jars", "a Kafka that may be killed is started from KAFKA_HOME, which is not set")
    if reason := runnable(Path(home)):
        missing("kafka-jars", reason)
    server = KafkaServer(Path(home), tmp_path_factory.mktemp("gone") / "broker")
    server.start()
    yield server
    server.stop(signal.SIGKILL)


class Stage:
    """A tenant on the broker, whose workers have a directory each."""

    def __init__(self, broker, directory):
        self.prefix, self.directory = f"gone-{uuid4().hex[:8]}-", directory
        self.url = f"kafka://{broker.bootstrap}"
        self.sent = 0
        self.workers = {}
        self._payments = iter(Simulator(Settings(seed=1)))
        self._redis_at = Path(tempfile.mkdtemp())  # short: a socket's path is
        self._redis = Valkey(self._redis_at)
        self._redis.start()
        with KafkaAdmin(self.url) as admin:
            admin.create(wanted(PROFILE.topics, self.prefix))

    def begin(self, crash_at=()):
        """Start all roles anew; each stands still where `crash_at` says."""
        for role in ROLES:
            environment = {
                "WEIR_BROKER": self.url,
                "WEIR_TOPIC_PREFIX": self.prefix,
                "WEIR_REDIS": self._redis.url,
                "WEIR_DATABASE": f"sqlite:///{self.directory}/weir.db",
                "WEIR_LOG": "INFO",
            }
            if role in crash_at:
                environment[VARIABLE] = f"{crash_at[role]}:STOP"
            self.workers[role] = start("worker", "--role", role, directory=self.directory, **environment)

    def text(self, role):
        return (self.directory / f"worker---role-{role}.out").read_text()

    def send(self, count):
        """Payments; they are acknowledged when this returns."""
        publisher = publisher_for(self.url)
        records = [
            Outgoing(
                str(each.raw["card"]).encode(),
                msgspec.json.encode(each.raw),
                ((ARRIVED, b"%d" % each.at_us),),
            )
            for each in itertools.islice(self._payments, count)
        ]
        publisher.publish(self.prefix + "transactions", records)
        publisher.close()
        self.sent += count

    def recorded(self):
        ledger = Ledger.open(f"sqlite:///{self.directory}/weir.db")
        try:
            return ledger.counters().get("events", 0)
        finally:
            ledger.close()

    def committed(self):
        """Whether every role has committed all there is."""
        progress = progress_for(self.url)
        return all(
            progress.committed(f"{self.prefix}weir-{role}", self.prefix + topic)
            == progress.end_offsets(self.prefix + topic)
            for role in ROLES
            for topic in READS[role]
        )

    def statuses(self):
        """What all workers end with, once they are asked to end."""
        for worker in self.workers.values():
            worker.send_signal(signal.SIGCONT)
            worker.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        return {role: worker.wait(deadline - time.monotonic()) for role, worker in self.workers.items()}

    def end(self):
        for worker in self.workers.values():
            with suppress(psutil.NoSuchProcess):
                worker.kill()
                worker.wait()
        self._redis.kill()
        shutil.rmtree(self._redis_at)


@pytest.fixture
def stage(broker, tmp_path):
    made = Stage(broker, tmp_path)
    yield made
    made.end()


class Killed:
    """A broker that is dead: nobody answers at its port."""

    def __init__(self, broker):
        self._broker = broker

    def __enter__(self):
        self._broker.stop(signal.SIGKILL)

    def __exit__(self, *_):
        self._broker.start()


class Silent:
    """A broker that takes connections and says nothing, as one behind a broken network."""

    def __init__(self, broker):
        self._broker = broker

    def __enter__(self):
        self._broker.send(signal.SIGSTOP)

    def __exit__(self, *_):
        self._broker.send(signal.SIGCONT)


gone = pytest.mark.parametrize("gone", [Killed, Silent])


@gone
def test_workers_with_something_in_hand_end_say_what_is_not_committed_and_lose_nothing(broker, stage, gone):
    stage.begin(IN_HAND)

    def all_in_hand():
        stage.send(1)
        return all(worker.status() == psutil.STATUS_STOPPED for worker in stage.workers.values())

    eventually(all_in_hand, "every role has something in hand")
    with gone(broker):
        assert stage.statuses() == dict.fromkeys(ROLES, CRASHED)
        for role in ROLES:
            assert "not committed, and read again from there: gone-" in stage.text(role), role
    stage.begin()
    eventually(lambda: stage.recorded() == stage.sent and stage.committed(), "the rest is done", pause=0.5)
    assert stage.recorded() == stage.sent


@gone
def test_workers_that_have_committed_everything_end_well(broker, stage, gone):
    stage.begin()
    stage.send(20)
    eventually(lambda: stage.recorded() == stage.sent and stage.committed(), "all is done", pause=0.5)
    with gone(broker):
        assert stage.statuses() == dict.fromkeys(ROLES, 0)


def test_workers_end_while_their_start_waits_for_a_broker(broker, stage):
    stage.begin()
    for role in ROLES:
        eventually(lambda: "[^App]: Starting" in stage.text(role), f"{role} starts")  # noqa: B023
    with Silent(broker):
        assert stage.statuses() == dict.fromkeys(ROLES, 0)
