"""The stack follows the best of its parts, is better where they know different things, and is calibrated."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.logistic import sigmoid
from models.packing import CodecError
from models.stacking import LOG_ODDS, Stack, logit

Event = tuple[tuple[float, ...], bool]

log_odds = st.floats(-LOG_ODDS, LOG_ODDS)


def loss(probability: float, fraud: bool) -> float:
    return -math.log(max(probability if fraud else 1.0 - probability, 1e-12))


def told(stack: Stack, events: Sequence[Event]) -> list[float]:
    """What the stack says of each before its label."""
    said = []
    for seen, fraud in events:
        said.append(stack.score(seen))
        stack.learn(seen, fraud)
    return said


def world(events: int, best: int, seed: int = 1, bias: float = 0.0) -> list[Event]:
    """Two parts; one of them knows the true log-odds, the other says something of no worth."""
    draw = random.Random(seed)
    made = []
    for _ in range(events):
        truth = draw.gauss(-2.0, 2.0)
        parts = [draw.gauss(-2.0, 2.0), draw.gauss(-2.0, 2.0)]
        parts[best] = truth + bias
        made.append((tuple(parts), draw.random() < sigmoid(truth)))
    return made


@pytest.mark.parametrize("best", [0, 1])
def test_over_each_stretch_the_stack_loses_little_more_than_the_part_that_is_best_there(best: int) -> None:
    """The other part was best for as long before; fixed share brings the better one back."""
    stack = Stack((0.5, 0.5))
    for part in (1 - best, best):
        events = world(3000, part, seed=part)
        ours = sum(loss(p, fraud) for p, (_, fraud) in zip(told(stack, events), events, strict=True))
        its = sum(loss(sigmoid(seen[part]), fraud) for seen, fraud in events)
        assert ours < its + 40


def test_parts_that_know_different_things_are_better_together_than_the_best_of_them() -> None:
    draw = random.Random(3)
    events: list[Event] = []
    for _ in range(6000):
        one, other = draw.gauss(-1.0, 1.5), draw.gauss(-1.0, 1.5)
        events.append(((one, other), draw.random() < sigmoid(one + other)))
    said = told(Stack((0.5, 0.5)), events)[2000:]
    judged = events[2000:]
    ours = sum(loss(p, fraud) for p, (_, fraud) in zip(said, judged, strict=True))
    best = min(sum(loss(sigmoid(seen[part]), fraud) for seen, fraud in judged) for part in (0, 1))
    assert ours < 0.9 * best


def test_what_is_said_is_a_probability_although_every_part_is_far_off() -> None:
    events = world(12000, 0, bias=3.0)
    said = told(Stack((0.5, 0.5)), events)[6000:]
    frauds = sum(fraud for _, fraud in events[6000:])
    assert sum(said) == pytest.approx(frauds, rel=0.05)


def test_before_any_label_the_parts_are_averaged() -> None:
    stack = Stack((0.5, 0.5))
    assert stack.weights.parts == (0.5, 0.5)
    assert stack.score((-3.0, -3.0)) == pytest.approx(sigmoid(-3.0))


def test_the_shares_are_shares_and_the_worthless_part_has_none_left() -> None:
    stack = Stack((0.5, 0.5))
    told(stack, world(4000, 0))
    weights = stack.weights
    assert sum(weights.shares) == pytest.approx(1.0)
    assert 0 < weights.shares[1] < 1e-3
    assert abs(weights.parts[1]) < 0.1 < 0.8 < weights.parts[0] < 1.2


@given(
    st.lists(st.tuples(st.tuples(log_odds, log_odds), st.booleans()), max_size=60),
    st.tuples(log_odds, log_odds),
)
def test_whatever_was_seen_a_score_is_a_probability_and_a_batch_gives_what_singles_give(
    events: list[tuple[tuple[float, float], bool]], seen: tuple[float, float]
) -> None:
    stack = Stack((0.5, 0.5))
    for each, fraud in events:
        stack.learn(each, fraud)
    batch = [each for each, _ in events] + [seen] * 20
    scores = stack.score_many([np.array(column) for column in zip(*batch, strict=True)])
    assert scores.tolist() == [stack.score(each) for each in batch]
    assert ((scores >= 0) & (scores <= 1)).all()
    assert Stack.of_plain(stack.plain(), 2).score(seen) == stack.score(seen)


@given(
    st.lists(st.tuples(st.tuples(log_odds, log_odds), st.booleans()), max_size=30),
    st.tuples(log_odds, log_odds),
)
def test_how_much_a_part_moves_the_score_is_what_it_does_where_it_is_moved(
    events: list[tuple[tuple[float, float], bool]], seen: tuple[float, float]
) -> None:
    stack = Stack((0.5, 0.5))
    for each, fraud in events:
        stack.learn(each, fraud)
    score = stack.score(seen)
    if not 1e-4 < score < 1 - 1e-4:
        return
    step = 1e-5
    for part, moved in enumerate(stack.parts_of(seen)):
        above, below = list(seen), list(seen)
        above[part], below[part] = seen[part] + step, seen[part] - step
        by = (logit(stack.score(above)) - logit(stack.score(below))) / (2 * step)
        assert moved == pytest.approx(by, abs=1e-3, rel=1e-3)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        [[0.0, 1.0], [[0.0]], [1.0]],
        [[0.0, 1.0, math.nan], [[0.0] * 3] * 3, [0.3, 0.3, 0.4]],
        [[0.0, 1.0, "a"], [[0.0] * 3] * 3, [0.3, 0.3, 0.4]],
        [[0.0] * 3, [[0.0] * 3] * 2, [0.3, 0.3, 0.4]],
    ],
)
def test_what_is_no_stack_is_refused(state: object) -> None:
    with pytest.raises(CodecError):
        Stack.of_plain(state, 2)
