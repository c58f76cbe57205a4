"""A PostgreSQL to test on: WEIR_TEST_POSTGRES, or the server on this machine, else these tests are skipped."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

SERVER = make_url(
    os.environ.get("WEIR_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
)


@pytest.fixture(scope="session")
def make_database():
    """Makes schemas of one database, since dropping a database takes a second, and drops that in the end."""
    admin = create_engine(SERVER, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 2})
    try:
        admin.connect().close()
    except OperationalError as error:
        pytest.skip(f"no PostgreSQL at {SERVER.host}:{SERVER.port}: {str(error.orig).splitlines()[0]}")
    url = SERVER.set(drivername="postgresql", database=f"weir_test_{uuid4().hex}")
    with admin.connect() as db:
        db.execute(text(f"CREATE DATABASE {url.database}"))
    ours = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    numbers = count()

    def make():
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
            pytest.skip("no pg_ctl in /usr/lib/postgresql")
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
