"""A network by hand, which keeps the contract of models.base.SequenceModel in plain Python, and does what it is told to."""

from __future__ import annotations

import math
import struct
from contextlib import nullcontext

from features.catalogue import Feature, FeatureSet, Kind
from models.base import Advanced
from stream.sequence import SequencePart

NETWORK = "0badcafe"
SECOND = 1_000_000
FEATURES = FeatureSet(
    (
        Feature("amount", Kind.AMOUNT),
        Feature("card_count_60s", Kind.COUNT, "card", 60 * SECOND),
        Feature("shop_sum_60s", Kind.SUM, "shop", 60 * SECOND),
    ),
    ("shop", "card"),
    "UTC",
    remember_us=1_000 * SECOND,
)


class ToyNetwork:
    """Carries one number: what every event before it has left of itself."""

    features = ("shop_sum_60s", "amount")

    def __init__(self):
        self.calls = []  # how many cards, each time
        self.before = lambda cards: None  # told of the cards of a call before it answers

    def advance(self, cards):
        self.calls.append(len(cards))
        self.before(cards)
        return [self._advanced(*card) for card in cards]

    def missing(self, card):
        return (card.state or bytes(8)) + b"".join(struct.pack("<2d", *each) for each in card.vectors)

    def _advanced(self, state, vectors):
        held = struct.unpack("<d", state[:8] or bytes(8))[0]
        missed = list(struct.iter_unpack("<2d", state[8:]))
        scores = []
        for shops, amount in [*missed, *vectors]:
            held = 0.7 * held + math.tanh(amount / 50 - 0.2) + 0.01 * math.sin(shops)
            scores.append(1 / (1 + math.exp(-held)))
        return Advanced(struct.pack("<d", held), scores[len(missed) :])


def part_of(store, model=None, *, step=None, writing=None):
    """The network's part on this store."""
    return SequencePart(
        NETWORK,
        model or ToyNetwork(),
        store,
        entity=(1, "card"),
        names=FEATURES.names,
        writing=writing or nullcontext(),
        step=step,
    )
