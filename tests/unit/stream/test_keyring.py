"""The keyring: keys for a whole batch at once, dropped soon after their person was forgotten."""

from base64 import b64decode

import pytest

from stream import keyring
from stream.envelope import Envelopes, Forgotten
from stream.keyring import POLL_SECONDS, Keyring, opened
from stream.sealing import Sealer
from tests.unit.stream.fakes import InMemoryKeys

SEALER = Sealer(bytes(range(32)))
CARD = ("card", "4539 1234 5678 1234")
ADA, BOB = ("customer", "Ada"), ("customer", "Bob")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def keys():
    return InMemoryKeys()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ring(keys, clock):
    return Keyring(keys, SEALER, clock)


def read(keys, text):
    """What an analyst would see."""
    sealed = b64decode(text)
    return opened(keys, SEALER, [sealed]).open(sealed).decode()


def test_a_value_is_sealed_for_its_person_and_a_card_number_never_whole(ring, keys):
    seals = ring.seals({CARD: 5, ADA: 5})
    assert read(keys, seals[ADA].text_at(5)) == "Ada"
    assert read(keys, seals[CARD].text_at(5)) == "4539 12** **** 1234"
    assert Envelopes(SEALER).people(b64decode(seals[ADA].text)) == [SEALER.pseudonym(*ADA)]
    assert seals[ADA].text != seals[CARD].text


def test_a_batch_costs_two_round_trips_for_newcomers_one_for_unknown_and_none_for_known_people(ring, keys):
    crowd = {("customer", f"c{number}"): 5 for number in range(1_000)}
    first = ring.seals(crowd)
    assert keys.asked[1:] == [("find", 1_000), ("make", 1_000)]
    keys.asked.clear()
    assert ring.seals(crowd) == first
    assert keys.asked == []
    again = Keyring(keys, SEALER, Clock())
    assert {pair: seal.key for pair, seal in again.seals(crowd).items()} == {
        pair: seal.key for pair, seal in first.items()
    }
    assert keys.asked == [("forgotten", 0), ("find", 1_000)]


def test_a_batch_about_nobody_asks_nothing(ring, keys):
    assert ring.seals({}) == {}
    assert keys.asked == []


def test_of_two_who_make_a_persons_key_at_once_both_use_the_one_that_is_kept(keys):
    first, second = Keyring(keys, SEALER), Keyring(keys, SEALER)
    real = keys.find

    def found_by_the_first_in_between(people):
        keys.find = real
        answer = real(people)
        first.seals({ADA: 5})
        return answer

    keys.find = found_by_the_first_in_between
    assert second.seals({ADA: 5})[ADA].key == first.seals({ADA: 5})[ADA].key


def test_a_forgotten_persons_key_is_used_for_a_second_at_most_and_opens_nothing(ring, keys, clock):
    before = ring.seals({ADA: 5, BOB: 5})
    keys.forget(SEALER.pseudonym(*ADA), at_us=7)
    assert ring.seals({ADA: 6})[ADA] == before[ADA], "not looked at yet"
    with pytest.raises(Forgotten):
        read(keys, before[ADA].text)
    clock.now = POLL_SECONDS
    after = ring.seals({ADA: 8, BOB: 8})
    assert after[ADA].key not in (None, before[ADA].key)
    assert after[BOB] == before[BOB]
    assert read(keys, after[ADA].text_at(8)) == "Ada"
    with pytest.raises(Forgotten):
        read(keys, before[ADA].text)


def test_what_came_before_a_person_was_forgotten_is_sealed_for_nobody_and_makes_no_key(ring, keys):
    person = SEALER.pseudonym(*ADA)
    keys.forget(person, at_us=7)
    seal = ring.seals({ADA: 7})[ADA]
    assert (seal.key, seal.text_at(7)) == (None, "")
    assert keys.held[person].key is None
    assert [what for what, _ in keys.asked] == ["forgotten", "find"], "no writing for what is clear"
    sealed = Envelopes(SEALER).seal(b"letter", [seal.at(7)])
    with pytest.raises(Forgotten):
        opened(keys, SEALER, [sealed]).open(sealed)
    newer = ring.seals({ADA: 8})[ADA]
    assert newer.key is not None
    assert newer.text_at(7) == "", "the same batch may hold older events of theirs"
    assert newer.at(7).key != newer.key
    assert newer.at(8).key == newer.key


def test_those_who_have_not_come_for_long_leave_memory(keys, monkeypatch):
    monkeypatch.setattr(keyring, "REMEMBERED", 10)
    ring = Keyring(keys, SEALER, Clock())
    for number in range(100):
        ring.seals({("customer", f"c{number}"): 5, ADA: 5})
    assert len(ring._young) + len(ring._old) <= 22
    keys.asked.clear()
    ring.seals({ADA: 5})
    assert keys.asked == [], "who comes again and again stays"


def test_a_key_wrapped_by_another_master_key_is_not_taken_for_a_forgotten_one(keys):
    Keyring(keys, Sealer(bytes(32))).seals({ADA: 5})
    (held,) = keys.held.values()
    keys.held = {SEALER.pseudonym(*ADA): held}
    with pytest.raises(keyring.SealError, match="sealed with the key"):
        Keyring(keys, SEALER).seals({ADA: 5})
