"""The chaos suite's verdict: what is lost, too many or different is seen."""

import msgspec
import pytest

from tests.chaos.__main__ import as_records
from tests.chaos.oracle import Oracle
from tests.chaos.story import story
from tests.chaos.verdict import compared


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    records = as_records(story(1, payments=150))
    return Oracle(records, tmp_path_factory.mktemp("oracle")).expected(records)


def test_a_story_is_the_same_for_a_seed():
    assert story(1, payments=50) == story(1, payments=50) != story(2, payments=50)


def test_the_same_is_no_trouble(expected):
    assert expected.decisions
    assert expected.dead_letters
    assert compared(expected, expected) == []


@pytest.mark.parametrize("what", ["decisions", "alerts", "dead_letters"])
def test_what_is_lost_or_too_many_is_told_by_kind_and_id(expected, what):
    rows = dict(getattr(expected, what))
    name, _ = rows.popitem()
    made = expected._replace(**{what: rows})
    kind = what.removesuffix("s").replace("_", " ")
    assert compared(expected, made) == [f"1 {kind}s lost, such as {name}"]
    assert compared(made, expected) == [f"1 {kind}s too many, such as {name}"]


def test_a_feature_that_differs_is_told_with_both_values(expected):
    decisions = msgspec.json.decode(msgspec.json.encode(expected.decisions))
    name = min(decisions)
    decisions[name]["features"]["card_count_1h"] = 99.0
    (trouble,) = compared(expected, expected._replace(decisions=decisions))
    assert name in trouble
    assert "became 99.0" in trouble


def test_only_what_depends_on_the_moment_is_passed_over_and_only_of_late_events(expected):
    decisions = msgspec.json.decode(msgspec.json.encode(expected.decisions))
    on_time = min(name for name, row in decisions.items() if not row["late"])
    decisions[on_time]["score"] += 1.0
    assert compared(expected, expected._replace(decisions=decisions), loose=("score",))
