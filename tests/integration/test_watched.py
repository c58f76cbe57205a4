"""Workers on Kafka as Prometheus and Kubernetes see them: ready when they have their partitions, and what they tell."""

import re
import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from msgspec import structs

from features.profile import load as load_profile
from stream.broker import publisher_for
from stream.kafka_admin import KafkaAdmin
from stream.probes import addresses
from stream.records import Outgoing
from stream.sealing import KEY_FILE, Sealer
from stream.topics import wanted
from tests.acceptance.harness import eventually, start, stop
from tests.contract.valkey import Valkey

PROFILE = load_profile("payments")
EVENTS = 300


@pytest.fixture
def redis():
    directory = Path(tempfile.mkdtemp())  # short: a socket's path is
    server = Valkey(directory)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory)


class Stage:
    """A tenant on the broker with two partitions, and its workers, each in a directory of its own."""

    def __init__(self, kafka, redis, directory):
        self.prefix = f"seen-{uuid4().hex[:8]}-"
        self.url = f"kafka://{kafka}"
        self.directory = directory
        self._redis = redis
        self._workers = []
        Sealer.at(directory / "shared")  # on several machines somebody copies it
        with KafkaAdmin(self.url) as admin:
            admin.create(wanted(structs.replace(PROFILE.topics, partitions=2), self.prefix))

    @property
    def environment(self):
        return {
            "WEIR_BROKER": self.url,
            "WEIR_TOPIC_PREFIX": self.prefix,
            "WEIR_REDIS": self._redis.url,
            "WEIR_DATABASE": f"sqlite:///{self.directory}/weir.db",
            "WEIR_SEAL_KEY_FILE": str(self.directory / "shared" / KEY_FILE),
            "WEIR_METRICS_PORT": "0",
        }

    def worker(self, role, name):
        worker = start("worker", "--role", role, directory=self.directory / name, **self.environment)
        self._workers.append(worker)
        return worker

    def end(self):
        for worker in self._workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
                worker.wait()

    def send(self, values):
        publisher = publisher_for(self.url)
        publisher.publish(
            self.prefix + "transactions", [Outgoing(b"k%d" % at, each) for at, each in enumerate(values)]
        )
        publisher.close()

    def ask(self, name, path):
        """Status and text of what a worker answers; None while it answers nothing."""
        for address in addresses(self.directory / name / "metrics").values():
            with suppress(OSError):
                connection = HTTPConnection(address.removeprefix("http://"), timeout=10)
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        return None

    def ready(self, name):
        return self.ask(name, "/readyz") == (200, "ready\n")

    def told(self, name):
        """The samples of a worker's metrics."""
        _, text = self.ask(name, "/metrics")
        return {
            sample: float(value)
            for sample, value in re.findall(r"^([a-z].*) ([-+.\deInf]+)$", text, re.MULTILINE)
        }


@pytest.fixture
def stage(kafka, redis, tmp_path):
    made = Stage(kafka, redis, tmp_path)
    yield made
    made.end()


def payment(number):
    return (
        b'{"id": "%d", "at": "%s", "card": "c%d", "merchant": "m", "device": "d", "country": "FR",'
        b' "channel": "chip", "amount": 12.5, "currency": "EUR"}'
        % (number, datetime.now(UTC).isoformat().encode(), number % 20)
    )


def test_a_scorer_is_ready_with_its_partitions_and_tells_what_it_did(stage):
    worker = stage.worker("score", "one")
    eventually(lambda: stage.ready("one"), "the scorer is ready")
    stage.send([*map(payment, range(EVENTS)), b"no json", b'{"id": "x"}'])
    topic = f"{stage.prefix}transactions"
    eventually(
        lambda: stage.told("one").get(f'weir_records_total{{role="score",topic="{topic}"}}') == EVENTS + 2,
        "all is decided",
    )
    told = eventually(
        lambda: (
            (found := stage.told("one")).get('weir_stage_seconds_count{role="score",stage="commit"}')
            and found
        ),
        "what is done is committed",
    )
    assert told['weir_decisions_total{role="score",status="fresh"}'] == EVENTS
    assert told['weir_dead_letters_total{reason="record",role="score"}'] == 1
    assert told['weir_dead_letters_total{reason="field",role="score"}'] == 1
    lags = {
        name: value for name, value in told.items() if name.startswith("weir_lag_records") and topic in name
    }
    assert len(lags) == 2, "one of each partition"
    assert set(lags.values()) == {0}
    for server in ("kafka", "redis"):
        assert told[f'weir_server_up{{role="score",server="{server}"}}'] == 1
    assert told['weir_redis_memory_used_bytes{role="score"}'] > 0
    assert told['weir_server_seconds_count{role="score",server="redis"}'] > 0
    assert told['weir_rebalances_total{role="score"}'] >= 1
    for name in ("decode", "store", "score", "decide", "emit", "produce"):
        assert told[f'weir_stage_seconds_count{{role="score",stage="{name}"}}'] > 0
    assert f'weir_latency_seconds_bucket{{le="+Inf",role="score",topic="{topic}"}}' in told
    stop(worker, seconds=30)
    assert stage.ask("one", "/healthz") is None
    assert not addresses(stage.directory / "one" / "metrics")


def test_a_lost_redis_makes_a_scorer_unready_and_not_dead(stage, redis):
    stage.worker("score", "one")
    eventually(lambda: stage.ready("one"), "the scorer is ready")
    redis.kill()
    answer = eventually(
        lambda: (found := stage.ask("one", "/readyz")) and found[0] == 503 and found, "the loss is seen"
    )
    assert answer == (503, "no answer from: redis\n")
    assert stage.ask("one", "/healthz")[0] == 200, "nothing is gained by starting it again"
