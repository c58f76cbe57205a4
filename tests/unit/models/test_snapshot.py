"""Snapshots come back as they were, or are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import Reason, Vector
from models.snapshot import FORMAT, MAGIC, Snapshot, SnapshotError

GOLDEN = Path(__file__).parents[2] / "golden" / "models"


class Constant:
    name = "constant"
    features = ("amount", "night")

    def score_one(self, vector: Vector) -> float:
        return 0.5

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        return [0.5 for _ in vectors]

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        pass

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        return []

    def dump(self) -> bytes:
        return b"state"


def snapshot(**changed: object) -> Snapshot:
    settings: dict[str, object] = {
        "number": 12,
        "features_version": "abcd",
        "threshold": math.inf,
        "learned": 300,
        "positions": {"labels/1": 7, "labels/0": 5},
        "made_at": "2026-01-01T00:00:00+00:00",
    }
    return Snapshot.of(Constant(), **{**settings, **changed})  # type: ignore[arg-type]


def test_a_snapshot_comes_back_as_it_was_even_with_an_infinite_threshold() -> None:
    made = snapshot()
    assert Snapshot.decode(made.encode()) == made
    assert made.model_version == "constant-12"
    assert made.threshold == math.inf


def test_equal_snapshots_give_equal_bytes_whatever_the_order_of_their_positions() -> None:
    assert snapshot(positions={"a": 1, "b": 2}).encode() == snapshot(positions={"b": 2, "a": 1}).encode()


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    whole = snapshot().encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SnapshotError):
        Snapshot.decode(bytes(damaged))


def test_a_snapshot_cut_short_anywhere_is_refused() -> None:
    whole = snapshot().encode()
    for length in range(len(whole)):
        with pytest.raises(SnapshotError):
            Snapshot.decode(whole[:length])


def test_another_format_is_named_in_the_refusal() -> None:
    later = MAGIC + bytes([FORMAT + 1]) + snapshot().encode()[len(MAGIC) + 1 :]
    with pytest.raises(SnapshotError, match=f"format {FORMAT + 1}, this Weir reads format {FORMAT}"):
        Snapshot.decode(later)


def test_what_each_feature_measured_comes_back_with_it() -> None:
    made = snapshot(hashes={"night": "n1", "amount": "a1", "unread": "u1"})
    assert made.hashes == ("a1", "n1")
    assert Snapshot.decode(made.encode()) == made


def test_one_that_does_not_say_so_is_read_and_written_as_before_there_were_such() -> None:
    written = (GOLDEN / "snapshot.v1.bin").read_bytes()
    assert Snapshot.decode(written) == snapshot()
    assert snapshot().encode() == written
    written = (GOLDEN / "snapshot.v2.bin").read_bytes()
    assert Snapshot.decode(written) == snapshot(hashes={"amount": "a1", "night": "n1"})


def test_other_bytes_are_no_snapshot() -> None:
    with pytest.raises(SnapshotError, match="no snapshot"):
        Snapshot.decode(b'{"number": 1}')


def test_the_same_content_in_other_bytes_is_refused() -> None:
    whole = snapshot().encode()
    longer = whole.replace(b"number\x0c", b"number\xcc\x0c")
    assert longer != whole
    with pytest.raises(SnapshotError, match="does not match its digest"):
        Snapshot.decode(longer)
