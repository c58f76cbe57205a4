"""The ledger's contract on PostgreSQL, in a database of its own: WEIR_TEST_POSTGRES, or the server on this machine."""

import os
from itertools import count
from threading import Thread
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from stream.review.queue import ReviewQueue
from tests.contract.ledger_records import SEALER, alert, on_log, recorder_of
from tests.contract.test_ledger import *  # noqa: F403 - the same suite, on another database
from tests.contract.test_migrations import *  # noqa: F403
from tests.contract.test_people import *  # noqa: F403

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


@pytest.mark.parametrize(("verdicts", "labels"), [(("fraud", "legitimate"), 2), (("fraud", "fraud"), 1)])
def test_two_analysts_at_once_leave_a_chain_of_labels_and_no_fork(ledger, verdicts, labels):
    recorder_of(ledger).record(on_log("alerts", *(alert(f"e{number}") for number in range(20))))
    queue = ReviewQueue(ledger, SEALER.open)
    for number in range(20):
        threads = [Thread(target=queue.give, args=(f"alert-e{number}", verdict)) for verdict in verdicts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said = [msgspec.json.decode(record.value) for _, record in queue.unsent(limit=100)]
    for number in range(20):
        chain = [each for each in said if each["event_id"] == f"e{number}"]
        assert len(chain) == labels
        assert [each["reverses"] for each in chain[1:]] == [each["label_id"] for each in chain[:-1]]
