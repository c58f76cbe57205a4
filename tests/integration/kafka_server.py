"""Apache Kafka from its own jars (KAFKA_HOME/libs), one broker in KRaft mode on loopback: for where there is no Docker."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

START_SECONDS = 60.0

SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={directory}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
"""


class KafkaServer:
    """A broker that keeps everything in one directory."""

    def __init__(self, home: Path, directory: Path) -> None:
        """Use the jars in `home`/libs, or `home` as the unpacked distribution has them."""
        self._jars = f"{home}/libs/*"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port, controller = _free_ports(2)
        directory.mkdir(parents=True)
        self._settings = directory / "server.properties"
        self._settings.write_text(SETTINGS.format(port=self.port, controller=controller, directory=directory))
        self._java(
            "kafka.tools.StorageTool", "format", "-t", "WeirTestCluster0000000", "-c", str(self._settings)
        )

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def _java(self, *arguments: str) -> None:
        command = ["java", "-cp", self._jars, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        with (self._directory / "kafka.out").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    "java",
                    "-Xmx512m",
                    "-XX:+UseSerialGC",
                    "-cp",
                    self._jars,
                    "kafka.Kafka",
                    str(self._settings),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"Kafka ended: see {self._directory}/kafka.out"
            assert time.monotonic() < deadline, f"Kafka did not answer: see {self._directory}/kafka.out"
            time.sleep(0.1)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; its data stay."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None


def runnable(home: Path) -> str | None:
    """Why no broker can be started from `home`; None if one can."""
    if not list(home.glob("libs/kafka-clients-*.jar")):
        return f"KAFKA_HOME={home} holds no libs/kafka-clients-*.jar"
    return None if shutil.which("java") else "Kafka needs Java 17 or newer on the PATH"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
