"""Where runs take place: the servers that several of them share, each started when it is first asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Self
from uuid import uuid4

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from tests.chaos.fault import CLUSTER, EMBEDDED, LOSSY, Fault
from tests.chaos.logs import EmbeddedLog, KafkaLog
from tests.chaos.oracle import Oracle
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage
from tests.chaos.story import Arrival
from tests.integration.kafka_server import KafkaServer, cluster, runnable

SERVER = make_url(
    os.environ.get("WEIR_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
)


class NotHere(Exception):
    """A server that this machine does not offer: which, and how to offer it."""


class Places:
    """Makes stages."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._started: dict[str, list[KafkaServer]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @contextmanager
    def stage(
        self, fault: Fault, place: Path, oracle: Oracle, arrivals: Sequence[Arrival], chance: Random
    ) -> Iterator[Stage]:
        """A stage as a fault needs it; everything on it ends with the block."""
        with ExitStack() as exits:
            database = exits.enter_context(postgres()) if fault.postgres else None
            if fault.on == EMBEDDED:
                stage = Stage(place, oracle, arrivals, chance, EmbeddedLog, database)
            else:
                brokers = self._brokers(fault.on)
                prefix = f"chaos-{uuid4().hex[:8]}-"
                addresses = (
                    self.proxy.address if fault.on == LOSSY else ",".join(each.bootstrap for each in brokers)
                )
                log = KafkaLog(addresses, prefix, fault.partitions)
                exits.callback(log.close)
                stage = Stage(place, oracle, arrivals, chance, lambda _: log, database)
                stage.brokers = brokers
                if fault.on == LOSSY:
                    stage.proxy = self.proxy
            exits.callback(stage.close)
            yield stage

    def _brokers(self, on: str) -> list[KafkaServer]:
        """The brokers of a kind, started when they are first asked for."""
        if on not in self._started:
            home = Path(os.environ.get("KAFKA_HOME", ""))
            if reason := runnable(home) if os.environ.get("KAFKA_HOME") else "KAFKA_HOME is not set":
                raise NotHere(f"no Kafka that could be broken: {reason}")
            directory = Path(self._exits.enter_context(TemporaryDirectory(prefix="chaos-kafka-")))
            self._started[on] = made = self._made(on, home, directory)
            for broker in made:
                self._exits.callback(broker.stop, signal.SIGKILL)
                broker.launch()
            for broker in made:
                broker.wait()
        return self._started[on]

    def _made(self, on: str, home: Path, directory: Path) -> list[KafkaServer]:
        if on == CLUSTER:
            return cluster(home, directory / "brokers")
        if on == LOSSY:
            self.proxy = self._exits.enter_context(Proxy())
            broker = KafkaServer(home, directory / "broker", advertised=self.proxy.port)
            self.proxy.target = broker.port
            return [broker]
        return [KafkaServer(home, directory / "broker")]


@contextmanager
def postgres() -> Iterator[str]:
    """A database of a run's own, on the server that WEIR_TEST_POSTGRES names, or this machine's."""
    admin = create_engine(SERVER, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 2})
    name = f"weir_chaos_{uuid4().hex}"
    try:
        with admin.connect() as db:
            db.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        reason = str(error.orig).splitlines()[0]
        raise NotHere(f"no PostgreSQL at {SERVER.host}:{SERVER.port}: {reason}") from error
    try:
        yield SERVER.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as db:
            db.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()
