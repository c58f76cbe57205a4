"""The online model, a network's score and rules of thumb as one probability: a stack that learns from each label.

The network's score is read like a feature, `SEQUENCE` behind the features of the vector. Where it is missing the event is scored
by what is left, with weights of their own: each label teaches them too, as if the network had been silent, so that they are good
on the day on which it is.

Before the online model learns from a label it says what it would have said, so that the stack only sees scores of events that the
model had not learned; the network's is that of the decision.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from models.base import NETWORK, SEQUENCE, Reason, Scorer, Vector
from models.baselines import Rule, RulesScorer
from models.incremental import WORTH_COLUMNS, RiverScorer, columns_of
from models.packing import CodecError, Packed, pack, unpack
from models.stacking import LOG_ODDS, Column, Stack, bounded, logit, sigmoids

RIVER, RULES = "river", "rules"
PARTS = (RIVER, RULES, NETWORK)
"""The parts, in the order of all weights."""

PRIOR = {False: (1.0, 0.0), True: (0.5, 0.0, 0.5)}
"""Before any label: whether the network is there -> the weights. Its average with the online model; rules have to earn theirs."""

AVERAGED = 1e-4
"""The average log-odds of the network's scores follow each label by this much."""


class EnsembleScorer:
    """River, a network and rules, stacked.

    >>> scorer = EnsembleScorer(("amount",))
    >>> for number in range(3000):
    ...     scorer.learn_one((5.0, 0.9 if number % 50 == 0 else 0.01), fraud=number % 50 == 0)
    >>> scorer.score_one((5.0, 0.9)) > 0.8, scorer.score_one((5.0, 0.01)) < 0.01
    (True, True)
    >>> 0.01 < scorer.score_one((5.0, math.nan)) < 0.04
    True
    """

    name = "ensemble"

    def __init__(
        self, features: tuple[str, ...], rules: Sequence[Rule] = (), *, river: RiverScorer | None = None
    ) -> None:
        """Of vectors with these features and the network's score behind them.

        With `river`, of the same features, it goes on from what that has learned.
        """
        self.features = (*features, SEQUENCE)
        self.river = river or RiverScorer(features)
        self.rules = RulesScorer(features, rules)
        self._count = len(features)
        self._stacks = {there: Stack(prior) for there, prior in PRIOR.items()}
        self._average = 0.0  # of the network's log-odds, over what was learned
        self._averaged = 0

    def score_one(self, vector: Vector) -> float:
        """The probability of fraud of one event."""
        log_odds = self._log_odds(vector, self.river.log_odds(vector))
        return self._stacks[len(log_odds) == len(PARTS)].score(log_odds)

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch."""
        if len(vectors) < WORTH_COLUMNS:
            return list(map(self.score_one, vectors))
        columns = columns_of(vectors)
        return _plain(self._stacked(columns, *self._said(columns)))

    def score_parts(self, vectors: Sequence[Vector]) -> tuple[list[float], list[Mapping[str, float]]]:
        """What `score_many` gives, and of each vector by part its own probability of fraud, but for the network's."""
        if not vectors:
            return [], []
        columns = columns_of(vectors)
        river, rules = said = self._said(columns)
        told = zip(sigmoids(river).tolist(), sigmoids(rules).tolist(), strict=True)
        return _plain(self._stacked(columns, *said)), [{RIVER: one, RULES: other} for one, other in told]

    def _said(self, columns: Column) -> tuple[Column, Column]:
        """The log-odds of River and of the rules."""
        return self.river.log_odds_many(columns), self.rules.log_odds_many(columns)

    def _stacked(self, columns: Column, river: Column, rules: Column) -> Column:
        """The scores, by what these parts said and the network, where it is there."""
        network = columns[self._count]
        there = network == network
        parts = [np.clip(each, -LOG_ODDS, LOG_ODDS) for each in (river, rules)]
        if there.all():
            return self._stacks[True].score_many([*parts, _logits(network)])
        scores = self._stacks[False].score_many(parts)
        if there.any():
            with_network = [*(part[there] for part in parts), _logits(network[there])]
            scores[there] = self._stacks[True].score_many(with_network)
        return scores

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn from one event whose label has arrived: the stack from what the parts said before, then River."""
        river = self.river.learn_scored(vector[: self._count], fraud)
        log_odds = self._log_odds(vector, river)
        self._stacks[False].learn(log_odds[:2], fraud)
        if len(log_odds) == len(PARTS):
            self._stacks[True].learn(log_odds, fraud)
            self._averaged += 1
            rate = max(AVERAGED, 1.0 / self._averaged)
            self._average += rate * (log_odds[2] - self._average)

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """What moved this score most from that of an average event, strongest first: the network's score among River's features.

        Each feature has its part in River's log-odds, and in the rules', by what these move the score.
        """
        log_odds = self._log_odds(vector, self.river.log_odds(vector))
        moves = self._stacks[len(log_odds) == len(PARTS)].parts_of(log_odds)
        told: defaultdict[str, float] = defaultdict(float)
        explained: tuple[RiverScorer | RulesScorer, ...] = (self.river, self.rules)
        for move, part in zip(moves, explained, strict=False):
            for reason in part.explain_one(vector[: self._count], self._count):
                told[reason.feature] += move * reason.weight
        if len(log_odds) == len(PARTS):
            told[SEQUENCE] = moves[2] * (log_odds[2] - self._average)
        values = dict(zip(self.features, vector, strict=True))
        all_told = [Reason(name, values[name], weight) for name, weight in told.items()]
        return sorted(all_told, key=lambda reason: -abs(reason.weight))[:top]

    def weights(self, network: bool = True) -> dict[str, float]:
        """By part: what its log-odds count for, alone and in the combination; with the network's score, or without."""
        _, combined, shares = self._stacks[network].weights
        return {
            part: share + shares[-1] * weight
            for part, share, weight in zip(PARTS, shares[:-1], combined, strict=False)
        }

    def dump(self) -> bytes:
        """The whole state as bytes: equal states give equal bytes."""
        stacks = [self._stacks[there].plain() for there in (False, True)]
        state = [self.river.dump(), self.rules.plain(), stacks, self._average, self._averaged]
        return pack(self.name, self.features, state)

    @classmethod
    def load(cls, packed: Packed) -> Self:
        """The scorer that `dump` wrote; raises CodecError for another state."""
        match packed:
            case Packed(
                _, (*features, "score:sequence"), [bytes(river), rules, [without, full], average, int(count)]
            ):
                names = tuple(features)
            case _:
                raise CodecError(f"this is not the state of an {cls.name} scorer")
        scorer = cls(names, RulesScorer.load(Packed("rules", names, rules)).rules, river=_river(river, names))
        scorer._stacks = {False: Stack.of_plain(without, 2), True: Stack.of_plain(full, 3)}
        if not isinstance(average, float) or not abs(average) <= LOG_ODDS or count < 0:
            raise CodecError(f"this is not the state of an {cls.name} scorer")
        scorer._average, scorer._averaged = average, count
        return scorer

    def with_river(self, river: RiverScorer, rules: Sequence[Rule] = ()) -> Self:
        """This ensemble's stack over another River part, which may have other features, and rules of these."""
        made = type(self)(river.features, rules, river=river)
        made._stacks, made._average, made._averaged = self._stacks, self._average, self._averaged
        return made

    def _log_odds(self, vector: Vector, river: float) -> list[float]:
        """Of each part that is there."""
        network = vector[self._count]
        both = [bounded(river), bounded(self.rules.log_odds(vector))]
        return both if math.isnan(network) else [*both, logit(network)]


def taken_over(old: Scorer, new: Scorer) -> Scorer:
    """What `old` has learned, in the parts of `new`, which knows nothing: one of the two may have a network, or both, or none.

    Where there was no network the stack begins; where there is none any more the online model goes on alone.
    """
    if not isinstance(new, EnsembleScorer):
        return old.river if isinstance(old, EnsembleScorer) else old
    if isinstance(old, EnsembleScorer):
        return old.with_river(old.river, new.rules.rules)
    return new.with_river(old, new.rules.rules) if isinstance(old, RiverScorer) else new


def _river(data: bytes, features: tuple[str, ...]) -> RiverScorer:
    packed = unpack(data)
    if packed.kind != RiverScorer.name or packed.features != features:
        raise CodecError("what should be the River part of an ensemble is something else")
    return RiverScorer.load(packed)


def _plain(scores: Column) -> list[float]:
    told: list[float] = scores.tolist()
    return told


def _logits(probabilities: Column) -> Column:
    """Of a column, by the same function as of one: numpy's own logarithm may differ in the last bit."""
    return np.fromiter(map(logit, probabilities.tolist()), np.float64, len(probabilities))
