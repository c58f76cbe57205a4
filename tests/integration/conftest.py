"""A Kafka to test on: KAFKA_BOOTSTRAP, else Docker, else the jars in KAFKA_HOME, else these tests are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kafka_server import KafkaServer, runnable
from tests.wanted import docker_runs, missing

IMAGE = "confluentinc/cp-kafka:7.9.0"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The addresses of a broker that these tests may fill with topics of their own."""
    named, home = os.environ.get("KAFKA_BOOTSTRAP"), os.environ.get("KAFKA_HOME")
    if named:
        yield named
    elif docker_runs():
        yield from in_docker()
    elif home:
        yield from from_jars(Path(home), tmp_path_factory.mktemp("kafka") / "broker")
    else:
        missing("kafka", "no Kafka: KAFKA_BOOTSTRAP and KAFKA_HOME are not set, and Docker does not run")


def in_docker() -> Iterator[str]:
    """A broker in a container."""
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer(IMAGE).with_kraft() as container:
        yield container.get_bootstrap_server()


def from_jars(home: Path, directory: Path) -> Iterator[str]:
    """A broker of our own."""
    reason = runnable(home)
    if reason:
        missing("kafka", reason)
    server = KafkaServer(home, directory)
    server.start()
    yield server.bootstrap
    server.stop()
