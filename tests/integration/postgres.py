"""A PostgreSQL to test on: WEIR_TEST_POSTGRES, or the server on this machine, else these tests are skipped."""

from __future__ import annotations

import os
from itertools import count
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
