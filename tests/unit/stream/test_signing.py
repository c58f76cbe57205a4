"""The envelope of a snapshot: what is signed comes back as it was, and nothing else is let in."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.baselines import NullScorer
from models.snapshot import Snapshot, SnapshotError
from stream import signing
from stream.signing import (
    HEAD,
    LARGEST,
    MAGIC,
    SIGNATURE_BYTES,
    SignatureError,
    Signed,
    Signer,
    TooLarge,
    opened,
)
from stream.topics import MODEL_BYTES
from tests.unit.stream.models_fakes import snapshot

GOLDEN = Path(__file__).parents[2] / "golden" / "models" / "signed.v1.bin"
SIGNER = Signer(bytes(range(32)))


def keys(*signers):
    known = {signer.public.id: signer.public for signer in signers}

    def key_of(key_id):
        if key_id not in known:
            raise SignatureError(f"{key_id} is not trusted")
        return known[key_id]

    return key_of


@given(
    name=st.text(max_size=20),
    number=st.integers(0, 2**31 - 1),
    version=st.text(max_size=16),
    positions=st.dictionaries(st.text(max_size=20), st.integers(0, 2**62), max_size=4),
    threshold=st.floats(allow_nan=False),
)
def test_what_is_signed_comes_back_as_it_was(name, number, version, positions, threshold):
    made = Snapshot.of(
        NullScorer(("a",)),
        number=number,
        features_version=version,
        threshold=threshold,
        learned=3,
        positions=positions,
        made_at="now",
    )
    value = SIGNER.sign(name, made)
    assert opened(value, keys(SIGNER)) == Signed(name, SIGNER.public.id, made)
    assert SIGNER.sign(name, made) == value, "the same snapshot is the same bytes"


@given(st.data())
def test_a_changed_byte_anywhere_is_noticed(data):
    value = bytearray(SIGNER.sign("null", snapshot(3)))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SnapshotError):
        opened(bytes(value), keys(SIGNER))


def test_a_snapshot_cut_short_anywhere_or_with_more_behind_it_is_refused():
    value = SIGNER.sign("null", snapshot(3))
    for length in range(len(value)):
        with pytest.raises(SnapshotError):
            opened(value[:length], keys(SIGNER))
    with pytest.raises(SignatureError, match="changed or cut short"):
        opened(value + b"\0", keys(SIGNER))


@given(st.binary(max_size=300), st.booleans())
def test_whatever_stands_there_is_refused_and_breaks_nothing(data, begins_well):
    head = MAGIC + b"\x01" + bytes.fromhex(SIGNER.public.id) if begins_well else b""
    with pytest.raises(SnapshotError):
        opened(head + data, keys(SIGNER))


def test_the_signature_covers_name_number_features_positions_and_bytes():
    """The statement of another snapshot under this one's signature."""
    value = SIGNER.sign("null", snapshot(3))
    head, signature = value[:HEAD], value[HEAD : HEAD + SIGNATURE_BYTES]
    others = [
        SIGNER.sign("other", snapshot(3)),
        SIGNER.sign("null", snapshot(4, learned=30)),
        SIGNER.sign("null", snapshot(3, features_version="g")),
        SIGNER.sign("null", snapshot(3, learned=31)),
    ]
    for other in others:
        with pytest.raises(SignatureError):
            opened(head + signature + other[HEAD + SIGNATURE_BYTES :], keys(SIGNER))


def test_a_key_that_is_not_trusted_is_asked_for_before_anything_is_read():
    value = Signer.fresh().sign("null", snapshot(3))
    with pytest.raises(SignatureError, match="is not trusted"):
        opened(value, keys(SIGNER))


def test_a_known_id_over_another_keys_signature_is_refused():
    value = bytearray(Signer.fresh().sign("null", snapshot(3)))
    value[HEAD - 8 : HEAD] = bytes.fromhex(SIGNER.public.id)
    with pytest.raises(SignatureError, match="never was signed by it"):
        opened(bytes(value), keys(SIGNER))


def test_another_format_is_named():
    value = bytearray(SIGNER.sign("null", snapshot(3)))
    value[len(MAGIC)] = 9
    with pytest.raises(SnapshotError, match="format 9, this Weir reads format 1"):
        opened(bytes(value), keys(SIGNER))


def test_an_unsigned_snapshot_is_refused():
    with pytest.raises(SnapshotError, match="no signed snapshot"):
        opened(snapshot(3).encode(), keys(SIGNER))


def test_one_that_the_topic_would_not_take_is_refused_before_it_is_sent(monkeypatch):
    assert LARGEST < MODEL_BYTES
    size = len(SIGNER.sign("null", snapshot(3)))
    monkeypatch.setattr(signing, "LARGEST", size)
    SIGNER.sign("null", snapshot(3))
    monkeypatch.setattr(signing, "LARGEST", size - 1)
    with pytest.raises(TooLarge, match=rf"null-3 has {size} bytes, and the topic takes {size - 1}"):
        SIGNER.sign("null", snapshot(3))


def test_the_bytes_of_the_first_format_are_read_and_written_for_ever():
    made = Snapshot.of(
        NullScorer(("amount", "count")),
        number=7,
        features_version="0123abcd",
        threshold=math.inf,
        learned=1234,
        positions={"decisions/0": 99, "labels/1": 12},
        made_at="2026-01-01T00:00:00+00:00",
    )
    golden = GOLDEN.read_bytes()
    assert opened(golden, keys(SIGNER)) == Signed("null", SIGNER.public.id, made)
    assert SIGNER.sign("null", made) == golden
