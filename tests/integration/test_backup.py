"""The restore drill on Kafka, PostgreSQL and Redis: SQL and Redis are lost, and yesterday's catch up from the log."""

import json
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest

from stream.bootstrap import TOPICS
from stream.broker import ensure_topics
from stream.decisions import DECISIONS
from tests.acceptance.conftest import model, payments, profile  # noqa: F401 - fixtures
from tests.acceptance.drill import EVENTS, Drill, in_three
from tests.contract.valkey import Valkey
from tests.integration.postgres import make_database  # noqa: F401 - a fixture


@pytest.fixture
def servers():
    """Two Redis servers, the second for when the first is lost."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        made = [Valkey(Path(directory, name)) for name in ("1", "2")]
        for number, server in enumerate(made, 1):
            Path(directory, str(number)).mkdir()
            server.start()
        yield made
        for server in made:
            server.kill()


def logs_of(state):
    """Of what values of the entities there are logs.

    What is in them besides records hangs on the order in which two topics were read, which is another the second time.
    """
    return {key for key in state if key.partition(b"}")[2][:1] in (b"t", b"l")}


def test_sql_and_redis_of_yesterday_catch_up_from_kafka(
    kafka, make_database, servers, tmp_path, payments, profile, model  # noqa: F811
):  # fmt: skip
    drill = Drill(
        tmp_path / "weir",
        profile,
        model,
        WEIR_BROKER=f"kafka://{kafka}",
        WEIR_TOPIC_PREFIX=f"drill-{uuid4().hex[:8]}-",
        WEIR_DATABASE=make_database(),
        WEIR_REDIS=servers[0].url,
    )
    ensure_topics(f"kafka://{kafka}", {drill.config.topic(name): 1 for name in TOPICS})
    parts = in_three(payments, profile)
    try:
        drill.start()
        drill.feed(parts[0])
        backup = tmp_path / "backup"
        told = json.loads(drill.run("backup", backup, "--json"))
        assert set(told["parts"]) == {"sql", "redis"}
        drill.feed(parts[1])
        drill.give("fraud")
        drill.stop()
        expected, features = drill.known(), drill.state()

        drill.lose(WEIR_DATABASE=make_database(), WEIR_REDIS=servers[1].url)
        servers[0].kill()
        behind = json.loads(drill.run("restore", backup, "--json"))
        again = {(each["role"], each["place"]): each["records"] for each in behind}
        assert again["record", f"{drill.config.topic(DECISIONS)}/0"] >= EVENTS // 4
        drill.start()
        drill.feed([])
        caught_up = drill.known()
        for what, value in expected.items():
            assert caught_up[what] == value, what
        assert logs_of(drill.state()) == logs_of(features) != set()
        drill.feed(parts[2])
        drill.stop()
        assert len(drill.known()["decisions"]) == EVENTS
    finally:
        drill.kill()
