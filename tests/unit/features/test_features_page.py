"""docs/features.md names every kind of feature, and what it shows as a declaration is one."""

import re
from pathlib import Path

import pytest

from features.catalogue import Kind
from features.grammar import Scope, parse, parse_all

PAGE = (Path(__file__).parents[3] / "docs" / "features.md").read_text()
SCOPE = Scope(("card", "merchant", "device"), ("channel", "country"), ("age", "lat", "lon"), currencies=True)
ROWS = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)
PAST = {Kind.PAST_AGE, Kind.PAST_AMOUNT}  # one line declares both
EXAMPLES = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)


def test_the_page_has_a_row_for_every_kind_and_none_besides() -> None:
    assert [name for name, _ in ROWS] == list(dict.fromkeys(name for name, _ in ROWS))
    assert {name for name, _ in ROWS} == {kind.value for kind in Kind}


@pytest.mark.parametrize(("name", "line"), ROWS)
def test_a_row_shows_a_declaration_of_its_kind(name: str, line: str) -> None:
    kinds = {feature.kind for feature in parse(line, SCOPE)}
    assert kinds == (PAST if name in PAST else {name})


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_can_be_declared(line: str) -> None:
    assert parse_all([line], SCOPE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 10
    assert any(" prior " in line for line in EXAMPLES)
