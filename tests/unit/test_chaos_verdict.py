"""The chaos suite's verdict: what is lost, too many or different is seen."""

from types import SimpleNamespace

import msgspec
import pytest

from tests.chaos.__main__ import as_records
from tests.chaos.lives import lived
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


@pytest.mark.parametrize("late", [True, False])
def test_only_what_depends_on_the_moment_is_passed_over_and_only_of_late_events(expected, late):
    decisions = msgspec.json.decode(msgspec.json.encode(expected.decisions))
    name = min(name for name, row in decisions.items() if row["late"] is late)
    decisions[name]["score"] += 1.0
    assert bool(compared(expected, expected._replace(decisions=decisions))) is not late
    decisions[name]["entities"] = {}
    assert compared(expected, expected._replace(decisions=decisions))


def with_score(expected, name, score):
    """The same, with another score of an event's decision and alert."""
    rows = {"decisions": name, "alerts": f"alert-{name}"}
    return expected._replace(
        **{
            what: {
                key: {**row, "score": score} if key == each else row
                for key, row in getattr(expected, what).items()
            }
            for what, each in rows.items()
        }
    )


@pytest.fixture
def alerted(expected):
    return min(expected.alerts).removeprefix("alert-")


@pytest.fixture
def robbed(monkeypatch):
    """A stage whose store had these lives before a loss."""

    def made(*lives):
        monkeypatch.setattr("tests.chaos.lives._expected_in", lambda stage, life: life)
        return SimpleNamespace(lives=lives)

    return made


def test_what_was_decided_before_the_store_lost_it_stands_with_its_alert(expected, alerted, robbed):
    made = with_score(expected, alerted, 0.75)
    assert compared(expected, made)
    assert compared(lived(robbed(expected, made), expected, made), made) == []


def test_what_the_store_answered_in_none_of_its_lives_is_seen(expected, alerted, robbed):
    made, before = with_score(expected, alerted, 0.75), with_score(expected, alerted, 0.5)
    decision, alert = compared(lived(robbed(before), expected, made), made)
    assert alerted in decision
    assert alerted in alert


def test_an_alert_that_only_a_repetition_calls_for_is_too_many(expected, alerted, robbed):
    calm = dict(expected.alerts)
    del calm[f"alert-{alerted}"]
    before = with_score(expected, alerted, 0.25)._replace(alerts=calm)
    made = before._replace(alerts=expected.alerts)
    assert compared(lived(robbed(before), expected, made), made) == [
        f"1 alerts too many, such as alert-{alerted}"
    ]
