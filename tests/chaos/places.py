"""Where runs take place: the servers that several of them share, each started when it is first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Self
from uuid import uuid4

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from tests.chaos.fault import Fault
from tests.chaos.oracle import Oracle
from tests.chaos.stage import Stage
from tests.chaos.story import Arrival

SERVER = make_url(
    os.environ.get("WEIR_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
)


class NotHere(Exception):
    """A server that this machine does not offer: which, and how to offer it."""


class Places:
    """Makes stages."""

    def __init__(self) -> None:
        self._exits = ExitStack()

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
            stage = Stage(place, oracle, arrivals, chance, database=database)
            exits.callback(stage.close)
            yield stage


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
