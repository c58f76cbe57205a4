"""Scorers' bytes are read back exactly, by this version and later ones, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.baselines import NullScorer, RandomScorer
from models.codec import CodecError, load_scorer
from models.incremental import RiverScorer
from models.packing import FORMAT, MAGIC, pack
from models.snapshot import SnapshotError

FEATURES = ("amount", "night")
GOLDEN = Path(__file__).parents[2] / "golden" / "models"


def taught() -> RiverScorer:
    scorer = RiverScorer(FEATURES, bins=4, first=40)
    for number in range(100):
        scorer.learn_one((float(number % 50), float(number % 2)), fraud=number % 50 > 40)
    return scorer


BYTES = taught().dump()


@pytest.mark.parametrize("name", ["river.v1", "river.v2"])
def test_a_golden_scorer_is_read_as_it_was_written_and_written_the_same(name: str) -> None:
    """v1 has bins of one width, v2 wider ones around them."""
    written = (GOLDEN / f"{name}.bin").read_bytes()
    scorer = load_scorer(written, FEATURES)
    assert scorer.dump() == written
    scores = [float(line) for line in (GOLDEN / f"{name}.scores").read_text().split()]
    assert scorer.score_many([(float(amount), 0.0) for amount in range(0, 60, 10)]) == scores


def test_a_golden_scorer_of_bins_of_one_width_goes_on_learning() -> None:
    scorer = load_scorer((GOLDEN / "river.v1.bin").read_bytes(), FEATURES)
    for number in range(400):
        scorer.learn_one((float(number % 50), float(number % 2)), fraud=number % 50 > 40)
    assert scorer.score_one((45.0, 0.0)) > 5 * scorer.score_one((5.0, 0.0))
    assert load_scorer(scorer.dump(), FEATURES).dump() == scorer.dump()


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    damaged = bytearray(BYTES)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodecError):
        load_scorer(bytes(damaged), FEATURES)


@given(st.integers(0, len(BYTES) - 1))
def test_bytes_cut_short_are_refused(length: int) -> None:
    with pytest.raises(CodecError):
        load_scorer(BYTES[:length], FEATURES)


def test_another_format_is_named() -> None:
    with pytest.raises(CodecError, match=f"format {FORMAT + 1}, this Weir reads format {FORMAT}"):
        load_scorer(MAGIC + bytes([FORMAT + 1]) + BYTES[len(MAGIC) + 1 :], FEATURES)


@pytest.mark.parametrize("features", [("night", "amount"), ("amount",), ()])
def test_a_scorer_of_other_features_is_refused(features: tuple[str, ...]) -> None:
    with pytest.raises(CodecError, match="reads amount, night"):
        load_scorer(BYTES, features)


def test_an_unknown_kind_is_refused_with_those_known() -> None:
    with pytest.raises(
        CodecError,
        match="'oracle' is not a scorer known here; these are: river, null, random, rules, ensemble",
    ):
        load_scorer(pack("oracle", FEATURES, None), FEATURES)


@pytest.mark.parametrize("kind", ["river", "null", "random", "ensemble"])
@pytest.mark.parametrize("state", [None, [], [1, 2, 3, 4], "x", -1, [5, 2], [None, None, 0, []]])
def test_a_state_that_does_not_fit_its_kind_is_refused(kind: str, state: object) -> None:
    with pytest.raises(CodecError):
        load_scorer(pack(kind, FEATURES, state), FEATURES)


@pytest.mark.parametrize(
    "state",
    [
        None,
        "x",
        [1],
        [["amount", 1.0]],
        [["amount", 1, 2.0]],
        [["age", 1.0, 2.0]],
        [["amount", float("nan"), 2.0]],
    ],
)
def test_what_are_no_rules_is_refused(state: object) -> None:
    with pytest.raises(CodecError):
        load_scorer(pack("rules", FEATURES, state), FEATURES)


def test_whoever_catches_snapshot_errors_catches_these() -> None:
    assert issubclass(CodecError, SnapshotError)


@pytest.mark.parametrize("scorer", [NullScorer(FEATURES), RandomScorer(FEATURES, seed=2**64 - 1)])
def test_a_baseline_comes_back(scorer: NullScorer | RandomScorer) -> None:
    scorer.learn_one((1.0, 0.0), True)
    loaded = load_scorer(scorer.dump(), FEATURES)
    assert type(loaded) is type(scorer)
    assert loaded.score_one((3.0, 1.0)) == scorer.score_one((3.0, 1.0))
