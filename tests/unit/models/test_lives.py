"""Rows are arranged into lives without being moved, and every row that counts is read once, behind its card's earlier ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lives import UNKNOWN, Lives, codes

STREAMS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60)


def lives_of(stream, *, whole=True):
    cards = np.array([card for card, _ in stream], np.int32)
    return Lives(cards, np.array([counts for _, counts in stream], bool), whole=whole)


def read(lives, cards, events, random=None):
    """By card's first row: all rows of the life as they are read, piece after piece."""
    found = []
    for group in lives.groups(cards, random):
        told = [[] for _ in group]
        for number, piece in enumerate(lives.pieces(group, events)):
            assert piece.fresh == (number == 0)
            assert piece.rows.shape[1] <= events
            for life, rows in zip(told, piece.rows, strict=False):
                life += rows.tolist()
        found += told
    return found


@given(STREAMS, st.integers(1, 4), st.integers(1, 7), st.booleans())
def test_a_life_is_its_cards_rows_in_order_up_to_the_last_that_counts(stream, cards, events, stirred):
    random = np.random.default_rng(1) if stirred else None
    lives = lives_of(stream)
    expected = []
    for card in {card for card, _ in stream}:
        rows = [row for row, (of, _) in enumerate(stream) if of == card]
        counting = [place for place, row in enumerate(rows) if stream[row][1]]
        if counting:
            expected.append(rows[: counting[-1] + 1])
    told = [[row for row in life if row != UNKNOWN] for life in read(lives, cards, events, random)]
    assert sorted(told) == sorted(expected)
    assert lives.events == sum(map(len, expected))
    assert len(lives) == len(expected)


@given(STREAMS, st.integers(1, 4), st.integers(1, 7))
def test_padding_comes_behind_a_life_alone(stream, cards, events):
    for life in read(lives_of(stream), cards, events):
        assert UNKNOWN not in life[: len([row for row in life if row != UNKNOWN])]


@given(STREAMS)
def test_what_looks_at_the_newest_event_alone_begins_with_the_first_that_counts(stream):
    for life in read(lives_of(stream, whole=False), 2, 3):
        assert stream[life[0]][1]


def test_groups_hold_lives_of_about_the_same_length_the_longest_first():
    stream = [(card, True) for card in range(8) for _ in range(card * 20 + 1)]
    lives = lives_of(stream)
    lengths = lives.stops - lives.starts
    for random in (None, np.random.default_rng(3)):
        groups = lives.groups(2, random)
        assert sorted(lengths[group].tolist() for group in groups) == [
            [21, 1],
            [61, 41],
            [101, 81],
            [141, 121],
        ]
    first, second = ([g.tolist() for g in lives.groups(2, np.random.default_rng(s))] for s in (1, 2))
    assert first != second
    assert first == [g.tolist() for g in lives.groups(2, np.random.default_rng(1))]


def test_a_card_that_has_ended_is_not_read_on():
    lives = lives_of([(0, True)] * 9 + [(1, True)] * 2)
    [group] = lives.groups(2)
    assert [len(piece.rows) for piece in lives.pieces(group, 4)] == [2, 1, 1]


def test_values_are_numbered_as_they_come():
    known = {"a": 0}
    assert codes(["b", "a", "b", "c"], known) == [1, 0, 1, 2]
    assert known == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize("counting", [[], [False, False]])
def test_where_nothing_counts_there_is_nothing_to_read(counting):
    lives = Lives(np.zeros(len(counting), np.int32), np.array(counting, bool))
    assert lives.groups(4) == []
    assert lives.events == 0
