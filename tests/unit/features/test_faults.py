"""What is said of a bad value gives nothing away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.faults import LONGEST_SHOWN, masked, shown


@given(st.integers(12, 19), st.sampled_from(["", " ", "-", "."]), st.text("abc: ", max_size=5))
def test_no_card_number_gets_through(length: int, gap: str, around: str) -> None:
    number = gap.join("4111111111111111111"[:length])
    text = masked(f"{around}{number}{around}")
    assert text == f"{around}[{length} digits]{around}"


def test_shorter_numbers_and_times_stay() -> None:
    assert masked("order 12345678901 of 2018-04-01 00:00:31") == "order 12345678901 of 2018-04-01 00:00:31"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (True, "true"),
        (1.5, "1.5"),
        (4111111111111111, "[16 digits]"),
        ("a\0b", r"'a\x00b'"),
        ({}, "an object"),
        ([1], "a list"),
        (datetime(2018, 4, 1, tzinfo=UTC), "2018-04-01T00:00:00+00:00"),
        (b"x", "a value of type bytes"),
    ],
)
def test_a_value_is_shown_as_people_would_call_it(value: object, words: str) -> None:
    assert shown(value) == words


@given(st.text(min_size=LONGEST_SHOWN + 1))
def test_a_long_text_is_not_shown_whole(text: str) -> None:
    assert repr(text)[1:-1] not in shown(text)


def test_a_card_number_is_masked_before_the_text_is_cut() -> None:
    assert "4111" not in shown("x" * (LONGEST_SHOWN - 8) + "4111111111111111")


@given(st.text(min_size=1) | st.integers() | st.floats())
def test_a_personal_value_is_only_described(value: object) -> None:
    assert shown(value, personal=True) in {"a number", f"a text of {len(str(value))} characters"}
