"""Apache Kafka from its own jars (KAFKA_HOME/libs), one broker in KRaft mode on loopback: for where there is no Docker."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.integration.certificates import Authority

START_SECONDS = 180.0

SETTINGS = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={directory}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


CLUSTER_SETTINGS = """
default.replication.factor={count}
min.insync.replicas=2
offsets.topic.replication.factor={count}
transaction.state.log.replication.factor={count}
transaction.state.log.min.isr=2
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""
"""One broker of three may be gone: what is acknowledged lies on two."""

SECURE_SETTINGS = """
listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://localhost:{sasl},SSL://localhost:{tls}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
"""
"""One listener in the clear for the tests' own hands, where everybody may do everything; the others ask who comes."""

USERS = {"admin": "admin-password-1", "weir": "weir-password-2", "reader": "reader-password-3"}
"""Who can log in with SASL PLAIN, and with what; what they may do beside `admin` is for ACLs to say."""


class KafkaServer:
    """A broker that keeps everything in one directory."""

    def __init__(
        self,
        home: Path,
        directory: Path,
        *,
        secure: bool = False,
        node: int = 1,
        controllers: Sequence[int] = (),
        advertised: int | None = None,
    ) -> None:
        """Use the jars in `home`/libs, or `home` as the unpacked distribution has them.

        A `secure` one has, beside the listener in the clear, one with SASL_SSL and one with TLS on both sides. Of a
        cluster it is one `node` (from 1), and knows the ports of all `controllers`. Clients are told the port
        `advertised`, where that is not its own.
        """
        self._jars = f"{home}/libs/*"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port, controller, self.sasl_port, self.tls_port = _free_ports(4)
        controllers = controllers or (controller,)
        directory.mkdir(parents=True)
        self._settings = directory / "server.properties"
        settings = SETTINGS.format(
            port=self.port,
            advertised=advertised or self.port,
            node=node,
            voters=",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1)),
            controller=controllers[node - 1],
            directory=directory,
        )
        if len(controllers) > 1:
            settings += CLUSTER_SETTINGS.format(count=len(controllers))
        if secure:
            self.authority = Authority(directory / "tls")
            settings += SECURE_SETTINGS.format(
                port=self.port,
                controller=controller,
                sasl=self.sasl_port,
                tls=self.tls_port,
                keystore=self.authority.keystore("broker"),
                ca=self.authority.ca,
                users=" ".join(f'user_{user}="{password}"' for user, password in USERS.items()),
            )
        self._settings.write_text(settings)
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
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it."""
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

    def wait(self) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process is not None
            assert self._process.poll() is None, f"Kafka ended: see {self._directory}/kafka.out"
            assert time.monotonic() < deadline, f"Kafka did not answer: see {self._directory}/kafka.out"
            time.sleep(0.1)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; its data stay."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None


def cluster(home: Path, directory: Path, count: int = 3) -> list[KafkaServer]:
    """The nodes of a cluster; each is to be started, and all of them before the first is ready."""
    controllers = _free_ports(count)
    return [
        KafkaServer(home, directory / str(node), node=node, controllers=controllers)
        for node in range(1, count + 1)
    ]


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
