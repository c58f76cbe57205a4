"""The networks' contract: batches give what singles give, padding changes nothing, and a life read anew gives its carried state."""

import math
import random
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batched import Advanced, Calibration, SequenceScorer, Series
from models.encoding import Encoding, fit
from models.sequence import BODIES, Network, Shape

NAMES = ("amount", "gap", "channel")
SHAPES = [
    Shape(architecture="gru", width=16, layers=2),
    Shape(architecture="lstm", width=16, layers=2),
    Shape(architecture="tcn", width=16, layers=3),
    Shape(architecture="feedforward", width=16),
    Shape(architecture="transformer", width=16, layers=2, length=5),
    Shape(architecture="transformer", width=16, layers=2, length=5, cached=False),
]
FINITE = st.floats(width=32, allow_nan=False)


def scorer_of(shape: Shape, seed: int = 3) -> SequenceScorer:
    torch.manual_seed(seed)
    drawn = np.random.default_rng(seed).normal(size=(200, 3)).astype(np.float32)
    drawn[:, 2] = np.arange(200) % 5
    network = Network(shape, fit(NAMES, drawn, {"channel": 5}), NAMES)
    for parameter in network.parameters():  # what an untrained network does not look at must count here
        torch.nn.init.normal_(parameter, std=0.3)
    return SequenceScorer(network, NAMES, Calibration(1.3, -0.2))


def life(length: int, seed: int) -> list[list[float]]:
    draw = random.Random(seed)
    return [
        [draw.choice([math.nan, draw.gauss(0, 1), draw.gauss(0, 50)]), draw.gauss(0, 1), draw.randrange(5)]
        for _ in range(length)
    ]


def close(one: list[float], other: list[float], within: float = 1e-6) -> bool:
    return bool(np.allclose(one, other, rtol=within, atol=within))


def floats(state: bytes) -> list[float]:
    return np.frombuffer(state, "<f4").tolist()


def one_by_one(scorer: SequenceScorer, vectors: list[list[float]], state: bytes = b"") -> Advanced:
    scores = []
    for vector in vectors:
        [(state, told)] = scorer.advance([Series(state, [vector])])
        scores += told
    return Advanced(state, scores)


def test_every_architecture_is_held_to_the_contract() -> None:
    assert {shape.architecture for shape in SHAPES} == set(BODIES)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.architecture}-{shape.cached}")
class TestContract:
    @settings(max_examples=6, deadline=None)
    @given(
        lengths=st.lists(st.integers(0, 9), min_size=1, max_size=7),
        before=st.integers(0, 12),
        seed=st.integers(0, 99),
    )
    def test_a_batch_gives_what_single_events_give(
        self, shape: Shape, lengths: list[int], before: int, seed: int
    ) -> None:
        scorer = scorer_of(shape)
        lives = [life(before + length, seed + row) for row, length in enumerate(lengths)]
        starts = [one_by_one(scorer, each[:before]).state for each in lives]
        together = scorer.advance(
            [Series(state, each[before:]) for state, each in zip(starts, lives, strict=True)]
        )
        for made, state, each in zip(together, starts, lives, strict=True):
            alone = one_by_one(scorer, each[before:], state)
            assert close(made.scores, alone.scores)
            assert close(floats(made.state), floats(alone.state), 1e-5)

    def test_a_life_read_from_its_beginning_gives_the_state_that_was_carried(self, shape: Shape) -> None:
        scorer, events = scorer_of(shape), life(80, 1)
        [whole] = scorer.advance([Series(b"", events)])
        carried = one_by_one(scorer, events)
        assert close(whole.scores, carried.scores, 1e-5)
        assert close(floats(whole.state), floats(carried.state), 1e-5)

    def test_neighbours_in_a_batch_change_nothing(self, shape: Shape) -> None:
        scorer = scorer_of(shape)
        cards = [Series(b"", life(length, length)) for length in (1, 7, 3, 4, 1)]
        forth, back = scorer.advance(cards), scorer.advance(cards[::-1])[::-1]
        for one, other in zip(forth, back, strict=True):
            assert close(one.scores, other.scores)
            assert close(floats(one.state), floats(other.state), 1e-5)

    def test_what_was_missed_is_read_before_the_next_event(self, shape: Shape) -> None:
        scorer, events = scorer_of(shape), life(9, 4)
        [begun] = scorer.advance([Series(b"", events[:3])])
        late = scorer.missing(Series(scorer.missing(Series(begun.state, events[3:5])), events[5:6]))
        [after] = scorer.advance([Series(late, events[6:])])
        straight = one_by_one(scorer, events)
        assert close(after.scores, straight.scores[6:])
        assert close(floats(after.state), floats(straight.state), 1e-5)

    def test_a_card_whose_first_events_were_missed_begins_with_them(self, shape: Shape) -> None:
        scorer, events = scorer_of(shape), life(4, 5)
        [after] = scorer.advance([Series(scorer.missing(Series(b"", events[:3])), events[3:])])
        assert close(after.scores, one_by_one(scorer, events).scores[3:])

    def test_scores_are_probabilities_whatever_comes(self, shape: Shape) -> None:
        scorer = scorer_of(shape)
        extremes = [math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0, -0.0, 3e38]
        vectors = [[*each, each[0]] for each in product(extremes, repeat=2)]
        [made] = scorer.advance([Series(b"", vectors)])
        assert all(0.0 <= score <= 1.0 for score in made.scores)
        assert np.isfinite(floats(made.state)).all()

    def test_a_state_of_another_network_is_refused(self, shape: Shape) -> None:
        scorer = scorer_of(shape)
        if scorer.state_bytes:
            with pytest.raises(ValueError, match="none of this network"):
                scorer.advance([Series(b"12345678"[: scorer.state_bytes - 1], life(1, 1))])

    def test_scoring_changes_nothing_in_the_network(self, shape: Shape) -> None:
        scorer = scorer_of(shape)
        before = {name: value.clone() for name, value in scorer.network.state_dict().items()}
        scorer.advance([Series(b"", life(5, 1))])
        assert all(torch.equal(value, before[name]) for name, value in scorer.network.state_dict().items())


def test_only_the_newest_events_are_remembered_where_many_were_missed() -> None:
    scorer, events = scorer_of(SHAPES[0]), life(100, 6)
    state = b""
    for event in events:
        state = scorer.missing(Series(state, [event]))
    assert len(state) == scorer.state_bytes + 64 * 8 * len(NAMES)
    [after] = scorer.advance([Series(state, events[:1])])
    assert close(after.scores, one_by_one(scorer, [*events[36:], events[0]]).scores[-1:])


@pytest.mark.parametrize("layers", [1, 3])
def test_a_transformer_with_a_cache_gives_what_it_gives_without(layers: int) -> None:
    events = life(40, 8)
    cached, anew = (
        scorer_of(Shape(architecture="transformer", width=16, layers=layers, length=5, cached=cached))
        for cached in (True, False)
    )
    assert close(one_by_one(cached, events).scores, one_by_one(anew, events).scores)


def test_a_transformer_looks_no_further_back_than_it_says() -> None:
    scorer = scorer_of(Shape(architecture="transformer", width=16, layers=2, length=4))
    recent = life(7, 9)  # two layers of four: the newest event and six before it
    [one] = scorer.advance([Series(b"", life(20, 10) + recent)])
    [other] = scorer.advance([Series(b"", life(20, 11) + recent)])
    assert close(one.scores[-1:], other.scores[-1:])
    assert not close(one.scores[-2:-1], other.scores[-2:-1], 1e-9)


def test_nothing_later_is_seen() -> None:
    for shape in SHAPES:
        scorer, events = scorer_of(shape), life(12, 12)
        [one] = scorer.advance([Series(b"", events)])
        [other] = scorer.advance([Series(b"", events[:8] + life(4, 13))])
        assert close(one.scores[:8], other.scores[:8])


@given(value=FINITE | st.just(math.nan), other=FINITE)
@settings(max_examples=50, deadline=None)
def test_the_bins_of_a_number_fill_up_in_order(value: float, other: float) -> None:
    fitted = fit(("a",), np.array([[1.0], [2.0], [4.0], [8.0]], np.float32), bins=3)
    encoding = Encoding(fitted, ("a",), 2)
    parts = encoding.parts(torch.tensor([[value], [other]]))
    assert ((parts >= 0) & (parts <= 1)).all()
    if math.isnan(value):
        assert parts[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    else:
        assert (parts[0] <= parts[1]).all() or value >= other


def test_a_feature_that_never_varies_or_is_never_known_says_nothing() -> None:
    fitted = fit(("same", "none"), np.array([[5.0, np.nan]] * 9, np.float32))
    assert fitted.edges == ((), ())
    parts = Encoding(fitted, ("same", "none"), 2).parts(torch.tensor([[5.0, math.nan], [7.0, 1.0]]))
    assert parts.tolist() == [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]


def test_vectors_without_a_fitted_feature_are_refused() -> None:
    fitted = fit(("a", "b"), np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="lack b"):
        Encoding(fitted, ("a",), 2)


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'rnn' is no architecture known here; these are: gru"):
        Network(Shape(architecture="rnn"), fit(("a",), np.zeros((1, 1), np.float32)), ("a",))
