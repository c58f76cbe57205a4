"""The review app over a ledger in a file and a publisher that remembers."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from stream.probes import Probes
from stream.review.ledger import Ledger
from stream.review.queue import ReviewQueue
from stream.review.web import make_app
from stream.watch import RoleWatch
from tests.contract.ledger_records import PROFILE, SEALER, recorder_of

TOKEN = "a-token-of-twenty-characters"
ADDRESS = "http://127.0.0.1:8765"


class Published:
    """A log that keeps what it is given, and fails on demand."""

    def __init__(self):
        self.records = []
        self.fault = None
        self.then = lambda topic, records: None

    def publish(self, topic, records):
        if self.fault:
            raise self.fault
        self.records += [(topic, record) for record in records]
        self.then(topic, records)

    def close(self):
        pass


@pytest.fixture
def ledger(tmp_path):
    found = Ledger.open(f"sqlite:///{tmp_path}/weir.db")
    yield found
    found.close()


@pytest.fixture
def recorder(ledger):
    return recorder_of(ledger)


@pytest.fixture
def queue(ledger):
    return ReviewQueue(ledger, SEALER.open)


@pytest.fixture
def published():
    return Published()


@pytest.fixture
def app(ledger, published):
    return make_app(
        ledger=ledger,
        publisher=published,
        profile=PROFILE,
        unseal=SEALER.open,
        prefix="shop.",
        token=TOKEN,
        probes=Probes(RoleWatch("review")),
    )


@pytest.fixture
def stranger(app):
    """Somebody without the token. The outbox's thread does not run."""
    return TestClient(app, base_url=ADDRESS, follow_redirects=False)


@pytest.fixture
def client(app):
    """A program with the token."""
    return TestClient(
        app, base_url=ADDRESS, headers={"authorization": f"Bearer {TOKEN}"}, follow_redirects=False
    )
