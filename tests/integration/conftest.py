"""A Kafka to test on: KAFKA_BOOTSTRAP, else Docker, else the jars in KAFKA_HOME, else these tests are skipped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kafka_server import KafkaServer, runnable

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
        pytest.skip("no Kafka: KAFKA_BOOTSTRAP and KAFKA_HOME are not set, and Docker does not run")


def docker_runs() -> bool:
    """Whether containers can be started here."""
    try:
        return (
            subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False).returncode == 0
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def in_docker() -> Iterator[str]:
    """A broker in a container."""
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer(IMAGE).with_kraft() as container:
        yield container.get_bootstrap_server()


def from_jars(home: Path, directory: Path) -> Iterator[str]:
    """A broker of our own."""
    reason = runnable(home)
    if reason:
        pytest.skip(reason)
    server = KafkaServer(home, directory)
    server.start()
    yield server.bootstrap
    server.stop()
