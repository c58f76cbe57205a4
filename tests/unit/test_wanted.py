"""What the machine lacks is skipped; what it offers must not be."""

import re
from pathlib import Path

import pytest

from tests.wanted import NAMES, missing


def test_what_is_not_there_is_skipped_with_its_reason(monkeypatch):
    monkeypatch.delenv("WEIR_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Kafka"):
        missing("kafka", "no Kafka")


def test_what_is_required_fails_where_it_would_be_skipped(monkeypatch):
    monkeypatch.setenv("WEIR_TEST_REQUIRE", "postgres kafka")
    with pytest.raises(pytest.fail.Exception, match=r"kafka is required.*no Kafka"):
        missing("kafka", "no Kafka")
    with pytest.raises(pytest.skip.Exception):
        missing("redis-server", "none on the PATH")


def test_ci_asks_for_everything_that_may_be_required():
    script = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    named = re.findall(r"^ *(?:if )?offers ([a-z-]+)", script, re.MULTILINE)
    assert sorted(named) == sorted(NAMES)
