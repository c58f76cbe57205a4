"""Forgetting somebody: their key and their features, once or again, and whose value it is."""

import pytest

from features.profile import load
from features.store import InMemoryFeatureStore
from stream.envelope import Envelopes, Forgotten
from stream.forgetting import FORGOTTEN_NOT, Forgetting
from stream.keyring import Keyring, opened
from stream.sealing import Sealer
from tests.unit.stream.fakes import InMemoryKeys

SEALER = Sealer(bytes(range(32)))
PROFILE = load("payments")
ROW = {
    "id": "p1",
    "at": "2026-01-01T11:59:00Z",
    "merchant": "m1",
    "device": "d1",
    "amount": 5,
    "currency": "EUR",
}
CARD = ("card", "4539123456781234")


@pytest.fixture
def keys():
    return InMemoryKeys()


@pytest.fixture
def features():
    store = InMemoryFeatureStore(PROFILE.features)
    store.apply([PROFILE.transaction({**ROW, "card": CARD[1]})])
    return store


def forgetting(keys, features, personal=("card",)):
    return Forgetting(SEALER, keys, features, personal, lambda now_us: 7)


def test_a_persons_key_and_features_go_and_what_was_sealed_stays_shut(keys, features):
    sealed = Envelopes(SEALER).seal(b"x", [Keyring(keys, SEALER).seals({CARD: 5})[CARD].at(5)])
    assert opened(keys, SEALER, [sealed]).open(sealed) == b"x"
    done = forgetting(keys, features).forget(CARD[1])
    assert (done.entity, done.person, done.key, done.features, done.at_us) == (
        "card",
        SEALER.pseudonym(*CARD),
        True,
        True,
        7,
    )
    assert done.not_done == FORGOTTEN_NOT
    with pytest.raises(Forgotten):
        opened(keys, SEALER, [sealed]).open(sealed)
    (after,) = features.apply([PROFILE.transaction({**ROW, "card": CARD[1], "id": "p2"})])
    assert after.vector[PROFILE.features.names.index("card_count_1h")] == 1.0


def test_forgetting_again_or_a_stranger_is_no_error(keys, features):
    for value in (CARD[1], CARD[1], "a stranger"):
        done = forgetting(keys, features).forget(value)
    assert (done.key, done.features) == (False, False)


def test_whose_value_it_is_must_be_clear(keys, features):
    two = ("card", "device")
    assert forgetting(keys, features, two).forget("d1", "device").features
    for personal, entity, said in (
        (two, None, r"not clear whose value this is: --entity names one .* \(card, device\)"),
        (two, "merchant", r"'merchant' is not personal: --entity names one .* \(card, device\)"),
        ((), None, r"--entity names one that the profile calls personal \(none\)"),
    ):
        with pytest.raises(ValueError, match=said):
            forgetting(keys, features, personal).forget("x", entity)
    assert not keys.order[1:], "nobody else was forgotten"
