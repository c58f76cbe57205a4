"""Envelopes: opened with the keys of all their people and the master key, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.envelope import HEAD_BYTES, NAMED_BYTES, Envelopes, Forgotten, PersonKey, fresh_key
from stream.sealing import NONCE_BYTES, TAG_BYTES, Sealer, SealError

SEALER = Sealer(bytes(range(32)))
ENVELOPES = Envelopes(SEALER)
ADA = PersonKey(SEALER.pseudonym("card", "4539123456781234"), bytes(range(1, 33)))
BOB = PersonKey(SEALER.pseudonym("customer", "Bob"), bytes(range(2, 34)))
BOTH = {ADA.person: ADA.key, BOB.person: BOB.key}

KEYS = st.builds(
    PersonKey,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.binary(min_size=32, max_size=32),
)
PEOPLE = st.lists(KEYS, max_size=4, unique_by=lambda key: key.person)


@given(st.binary(max_size=500), PEOPLE)
def test_what_was_sealed_is_opened_with_the_keys_of_all_its_people(value, people):
    sealed = ENVELOPES.seal(value, people)
    assert ENVELOPES.people(sealed) == [key.person for key in people]
    assert ENVELOPES.open(sealed, {key.person: key.key for key in people}) == value
    assert len(sealed) == HEAD_BYTES + len(people) * NAMED_BYTES + NONCE_BYTES + len(value) + TAG_BYTES
    if len(value) > 3:
        assert value not in sealed


@given(st.binary(max_size=50), PEOPLE.filter(bool), st.data())
def test_without_the_key_of_any_one_of_its_people_it_stays_shut(value, people, data):
    sealed = ENVELOPES.seal(value, people)
    keys = {key.person: key.key for key in people}
    lost = data.draw(st.sampled_from(people)).person
    with pytest.raises(Forgotten, match="forgotten"):
        ENVELOPES.open(sealed, {person: key for person, key in keys.items() if person != lost})
    with pytest.raises(Forgotten):
        ENVELOPES.open(sealed, keys | {lost: fresh_key(lost).key})


@given(PEOPLE, st.data())
def test_a_single_changed_bit_is_noticed(people, data):
    sealed = bytearray(ENVELOPES.seal(b"0123456789", people))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        ENVELOPES.open(bytes(sealed), {key.person: key.key for key in people})


@given(st.binary(max_size=100))
def test_bytes_that_were_never_sealed_are_refused(value):
    with pytest.raises(SealError):
        ENVELOPES.open(value, BOTH)


@given(st.integers(0, 110))
def test_an_envelope_that_was_cut_is_refused(length):
    sealed = ENVELOPES.seal(b"x" * 40, [ADA, BOB])[:length]
    with pytest.raises(SealError):
        ENVELOPES.open(sealed, BOTH)


def test_the_master_key_alone_opens_what_is_sealed_for_nobody_and_nothing_else():
    assert ENVELOPES.open(ENVELOPES.seal(b"x"), {}) == b"x"
    other = Envelopes(Sealer(bytes(32)))
    with pytest.raises(SealError, match=f"sealed with the key {SEALER.key_id}, not with "):
        other.open(ENVELOPES.seal(b"x", [ADA]), BOTH)


def test_a_persons_key_opens_nothing_without_the_master_key():
    """Who has the database alone, even with keys unwrapped, reads nothing."""
    sealed = ENVELOPES.seal(b"x", [ADA])
    other = Envelopes(Sealer(bytes(32)))
    other._start = ENVELOPES._start  # says that it is the same
    with pytest.raises(SealError, match="changed"):
        other.open(sealed, BOTH)


def test_the_same_value_is_sealed_to_other_bytes_each_time():
    assert ENVELOPES.seal(b"x", [ADA]) != ENVELOPES.seal(b"x", [ADA])


def test_what_was_sealed_with_format_1_is_opened_as_ever():
    old = SEALER.seal(b"57.16 EUR")
    assert ENVELOPES.people(old) == []
    assert ENVELOPES.open(old, {}) == b"57.16 EUR"


def test_an_envelope_sealed_once_is_opened_for_ever():
    sealed = bytes.fromhex(
        "02cd33df8e02ecd23e8da60be0bdac8dc0907e0ed0a6a1be785f956cd4b48b31a40e70a092bb2e371501c074d8"
        "1ce6e0755d2a38251dcb49d770a17c02ba139ac4ac789fc401b354a462a110bbf69178f9d120"
    )
    assert ENVELOPES.people(sealed) == [ADA.person, BOB.person]
    assert ENVELOPES.open(sealed, BOTH) == b"57.16 EUR"
