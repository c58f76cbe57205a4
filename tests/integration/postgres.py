"""A PostgreSQL to test on: WEIR_TEST_POSTGRES, else Docker, else one on this machine, else none and the tests are skipped."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError

from tests.wanted import docker_runs, missing

IMAGE = "postgres:17-alpine"
LOCAL = make_url("postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


@contextmanager
def a_server() -> Iterator[URL]:
    """The address of a server that these tests may make databases on."""
    named = os.environ.get("WEIR_TEST_POSTGRES")
    if named:
        yield make_url(named)
    elif docker_runs():
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer(IMAGE, driver="psycopg") as container:
            yield make_url(container.get_connection_url())
    elif answers(LOCAL):
        yield LOCAL
    else:
        yield from of_our_own()


def answers(url: URL) -> bool:
    """Whether a server is there and lets us in."""
    engine = create_engine(url, connect_args={"connect_timeout": 2})
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


def of_our_own() -> Iterator[URL]:
    """A server from the binaries on this machine."""
    with tempfile.TemporaryDirectory(
        prefix="weir-postgres-"
    ) as name:  # pytest's own are closed to the user postgres
        started = PostgresServer(Path(name))
        yield make_url(started.url).set(drivername="postgresql+psycopg")
        started.ctl("stop")


@pytest.fixture(scope="session")
def make_database():
    """Makes schemas of one database, since dropping a database takes a second, and drops that in the end."""
    with a_server() as server:
        yield from schemas_on(server)


def schemas_on(server: URL) -> Iterator[Callable[[], str]]:
    """What makes schemas, of one database that is dropped after."""
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    url = server.set(drivername="postgresql", database=f"weir_test_{uuid4().hex}")
    with admin.connect() as db:
        db.execute(text(f"CREATE DATABASE {url.database}"))
    ours = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    numbers = count()

    def make() -> str:
        schema = f"weir_{next(numbers)}"
        with ours.connect() as db:
            db.execute(text(f"CREATE SCHEMA {schema}"))
        mine = url.update_query_dict({"options": f"-csearch_path={schema}"})
        return mine.render_as_string(hide_password=False)

    yield make
    ours.dispose()
    with admin.connect() as db:
        db.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
    admin.dispose()


class PostgresServer:
    """A PostgreSQL of our own, to be broken; skips where none is installed."""

    def __init__(self, directory: Path) -> None:
        """Make an empty cluster in `directory`, which the user postgres must be able to enter."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if not found:
            missing("postgres-binaries", "no pg_ctl in /usr/lib/postgresql")
        self._bins, self._data, self._log = found[-1].parent, directory / "data", directory / "log"
        self._user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        if self._user:
            os.chown(directory, self._user.pw_uid, self._user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-U", "weir", "-A", "trust", "-N")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
        self.ctl("start")

    @property
    def url(self) -> str:
        return f"postgresql://weir@127.0.0.1:{self.port}/postgres"

    def ctl(self, *command: str) -> None:
        """start, stop or restart."""
        self._run("pg_ctl", "-w", "-l", str(self._log), *command)

    def _run(self, program: str, *arguments: str) -> None:
        demoted = {"user": self._user.pw_uid, "group": self._user.pw_gid} if self._user else {}
        subprocess.run(
            [self._bins / program, "-D", self._data, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **demoted,
        )
