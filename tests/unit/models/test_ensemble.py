"""The ensemble is as good as its parts, needs no network to be there, and says what counts for how much."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from models.base import SEQUENCE
from models.baselines import NullScorer, Rule, RulesScorer
from models.codec import CodecError, load_scorer
from models.ensemble import EnsembleScorer, taken_over
from models.incremental import RiverScorer
from models.measures import ranking
from models.packing import Packed, pack, unpack

FEATURES = ("amount", "risk")
RULES = (Rule("risk", 0.5, 4.0),)
GOLDEN = Path(__file__).parents[2] / "golden" / "models"
NAN = math.nan

Row = tuple[tuple[float, float, float], bool]


def stream(events: int, seed: int = 1, network: bool = True) -> list[Row]:
    """Fraud goes with high amounts, which River sees, and with what only the network sees."""
    draw = random.Random(seed)
    rows = []
    for _ in range(events):
        amount, hidden = draw.expovariate(0.02), draw.random() < 0.05
        fraud = draw.random() < (0.8 if hidden else 0.4 if amount > 150 else 0.005)
        score = 0.7 if hidden else 0.03 + 0.02 * draw.random()
        rows.append(((amount, draw.random() * 0.4, score if network else NAN), fraud))
    return rows


def taught(rows: list[Row], first: int = 100) -> EnsembleScorer:
    scorer = EnsembleScorer(FEATURES, RULES, river=RiverScorer(FEATURES, first=first))
    for vector, fraud in rows:
        scorer.learn_one(vector, fraud)
    return scorer


def worth(scores: list[float], rows: list[Row]) -> float:
    return ranking(np.array(scores), np.array([fraud for _, fraud in rows]))[1]


def test_together_they_are_better_than_each_alone() -> None:
    scorer, later = taught(stream(4000)), stream(3000, seed=2)
    vectors = [vector for vector, _ in later]
    ours = worth(scorer.score_many(vectors), later)
    river = worth(scorer.river.score_many([vector[:2] for vector in vectors]), later)
    network = worth([vector[2] for vector in vectors], later)
    assert ours > max(river, network) + 0.1


def test_without_the_network_it_is_what_river_is_although_it_never_was_without_it_before() -> None:
    scorer, later = taught(stream(4000)), stream(3000, seed=2, network=False)
    vectors = [vector for vector, _ in later]
    ours = worth(scorer.score_many(vectors), later)
    river = worth(scorer.river.score_many([vector[:2] for vector in vectors]), later)
    assert ours > river - 0.01
    assert sum(scorer.score_many(vectors)) == pytest.approx(sum(fraud for _, fraud in later), rel=0.25)


def test_labels_with_the_network_teach_what_the_other_parts_are_worth_without_it() -> None:
    """River has no bins yet and says the same of all; only the rules know, and were never alone with it."""
    scorer = EnsembleScorer(FEATURES, RULES, river=RiverScorer(FEATURES, first=10_000))
    for number in range(3000):
        scorer.learn_one((1.0, 0.9 if number % 20 == 0 else 0.0, 0.05), fraud=number % 20 == 0)
    assert scorer.score_one((1.0, 0.9, NAN)) > 0.5 > 10 * scorer.score_one((1.0, 0.0, NAN))


def test_events_with_and_without_the_network_in_one_batch_are_scored_each_by_itself() -> None:
    scorer = taught(stream(800))
    rows = [vector if number % 3 else (*vector[:2], NAN) for number, (vector, _) in enumerate(stream(90, 5))]
    assert scorer.score_many(rows) == [scorer.score_one(row) for row in rows]


def test_a_label_without_the_network_leaves_the_weights_with_it_alone() -> None:
    scorer = taught(stream(800))
    with_it, without = scorer.weights(), scorer.weights(network=False)
    for vector, fraud in stream(50, seed=3, network=False):
        scorer.learn_one(vector, fraud)
    assert scorer.weights() == with_it
    assert scorer.weights(network=False) != without
    assert list(with_it) == ["river", "rules", "sequence"]
    assert list(without) == ["river", "rules"]


def test_the_stack_sees_what_river_said_before_it_learned_the_label() -> None:
    """Else River, which knows what it has just learned, would count for more than it is worth."""
    scorer, seen = taught(stream(500)), []
    vector = (500.0, 0.1, 0.5)
    before = scorer.river.log_odds(vector[:2])
    scorer._stacks[True].learn = lambda log_odds, fraud: seen.append(log_odds[0])  # type: ignore[method-assign]
    scorer.learn_one(vector, True)
    assert seen == [before]
    assert scorer.river.log_odds(vector[:2]) != before


def test_the_networks_score_is_a_reason_among_features() -> None:
    scorer = taught(stream(4000))
    strongest = scorer.explain_one((5.0, 0.1, 0.7))[0]
    assert (strongest.feature, strongest.value) == (SEQUENCE, 0.7)
    assert strongest.weight > 1
    assert SEQUENCE not in {reason.feature for reason in scorer.explain_one((5.0, 0.1, NAN), top=9)}
    assert scorer.explain_one((400.0, 0.1, 0.03))[0].feature == "amount"


def test_a_rule_that_holds_is_a_part_of_its_features_reason() -> None:
    scorer = EnsembleScorer(FEATURES, RULES)
    for number in range(3000):
        scorer.learn_one((1.0, 0.9 if number % 30 == 0 else 0.0, NAN), fraud=number % 30 == 0)
    assert scorer.explain_one((1.0, 0.9, NAN))[0].feature == "risk"


def test_the_parts_say_what_they_say_alone() -> None:
    scorer = taught(stream(800))
    vectors = [vector for vector, _ in stream(30, seed=4)]
    scores, told = scorer.score_parts(vectors)
    assert scores == scorer.score_many(vectors)
    assert [each["river"] for each in told] == scorer.river.score_many([vector[:2] for vector in vectors])
    assert [each["rules"] for each in told] == [scorer.rules.score_one(vector) for vector in vectors]
    assert scorer.score_parts([]) == ([], [])


def test_a_scorer_that_began_before_there_was_a_network_is_taken_over_with_all_it_knew() -> None:
    river = RiverScorer(FEATURES, first=100)
    for vector, fraud in stream(900):
        river.learn_one(vector[:2], fraud)
    known = river.dump()
    scorer = taken_over(river, EnsembleScorer(FEATURES, RULES))
    assert isinstance(scorer, EnsembleScorer)
    assert (scorer.river.dump(), scorer.rules.rules) == (known, RULES)
    assert scorer.score_one((5.0, 0.1, NAN)) == pytest.approx(river.score_one((5.0, 0.1)), rel=1e-9)


def test_a_scorer_whose_network_went_goes_on_with_river_alone() -> None:
    scorer = taught(stream(900))
    known = scorer.river.dump()
    assert taken_over(scorer, RiverScorer(FEATURES)).dump() == known


def test_an_ensemble_is_taken_over_with_its_stack() -> None:
    scorer = taught(stream(900))
    weights = scorer.weights()
    after = taken_over(scorer, EnsembleScorer(FEATURES, RULES))
    assert isinstance(after, EnsembleScorer)
    assert after.weights() == weights
    assert after.dump() == scorer.dump()


def test_what_cannot_be_a_part_is_not_taken_over() -> None:
    new = EnsembleScorer(FEATURES)
    assert taken_over(NullScorer(FEATURES), new) is new


def test_a_golden_ensemble_is_read_as_it_was_written_and_written_the_same() -> None:
    written = (GOLDEN / "ensemble.v1.bin").read_bytes()
    scorer = load_scorer(written, (*FEATURES, SEQUENCE))
    assert scorer.dump() == written
    scores = [float(line) for line in (GOLDEN / "ensemble.v1.scores").read_text().split()]
    assert scorer.score_many([(float(amount), 0.1, 0.5) for amount in range(0, 300, 10)]) == scores


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: [state[0]],
        lambda state: [NullScorer(FEATURES).dump(), *state[1:]],
        lambda state: [RiverScorer(("amount",)).dump(), *state[1:]],
        lambda state: [state[0], [["unknown", 1.0, 1.0]], *state[2:]],
        lambda state: [*state[:2], state[2][::-1], *state[3:]],
        lambda state: [*state[:3], NAN, state[4]],
        lambda state: [*state[:4], -1],
    ],
)
def test_a_state_that_is_none_is_refused(spoil) -> None:  # type: ignore[no-untyped-def]
    packed = unpack(taught(stream(200)).dump())
    with pytest.raises(CodecError):
        load_scorer(pack("ensemble", packed.features, spoil(packed.state)), packed.features)


def test_an_ensemble_without_its_networks_score_is_none() -> None:
    with pytest.raises(CodecError):
        EnsembleScorer.load(Packed("ensemble", FEATURES, []))


def test_a_missing_value_meets_no_rule_and_a_rule_of_an_unknown_feature_is_refused() -> None:
    assert RulesScorer(FEATURES, RULES).explain_one((1.0, NAN)) == []
    with pytest.raises(ValueError, match="tuple"):
        RulesScorer(FEATURES, (Rule("age", 1.0, 1.0),))
