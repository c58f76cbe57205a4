"""Long schedules: the two oracles agree, and both stores answer every event of them to the bit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from features.catalogue import Kind
from features.store import Status
from tests.contract.exactness import Compared
from tests.contract.matrices import Matrices
from tests.contract.oracle import Oracle
from tests.contract.torrents import Torrent, every_kind

FEATURES = every_kind()
SHORT, LONG = 800, 40_000
BATCH = 200
BRUTE_FORCE_ALONE = {Kind.SINCE_FIRST_FRAUD, Kind.SPEED, Kind.DISTANCE}
"""Kinds of which only the other oracle knows the values."""


def test_a_torrent_has_features_of_every_kind_and_items_of_every_fate():
    assert {each.kind for each in FEATURES.features} == set(Kind) - BRUTE_FORCE_ALONE
    assert set(Matrices(FEATURES, Torrent().items(4_000)).statuses) == set(Status)


def test_the_two_oracles_agree():
    items = Torrent(seed=5).items(SHORT)
    expected = Compared(FEATURES, Matrices(FEATURES, items))
    expected.take(Oracle(FEATURES).apply(items))
    assert (expected.whole, expected.mismatches) == (True, Counter())


def test_a_difference_of_one_bit_is_found():
    items = Torrent().items(100)
    expected = Matrices(FEATURES, items)
    answers = Oracle(FEATURES).apply(items)
    column = FEATURES.names.index("card_count_360m")
    at = next(at for at, each in enumerate(answers) if each.status is Status.FRESH)
    expected.vectors[at, column] = np.nextafter(expected.vectors[at, column], 99)
    compared = Compared(FEATURES, expected)
    compared.take(answers)
    assert compared.mismatches == Counter({"card_count_360m": 1})


@pytest.mark.slow
def test_a_store_answers_a_long_torrent_to_the_bit(make_store):
    items = Torrent(seed=3).items(LONG)
    compared = Compared(FEATURES, Matrices(FEATURES, items))
    store = make_store(FEATURES)
    for at in range(0, len(items), BATCH):
        compared.take(store.apply(items[at : at + BATCH]))
    assert (compared.whole, compared.mismatches) == (True, Counter())
