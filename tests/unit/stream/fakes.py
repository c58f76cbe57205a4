"""Fakes by hand: a store that counts, a scorer that reads one number."""

from __future__ import annotations

from features.events import Label, Transaction
from features.store import Applied, Status
from models.base import Reason


def transaction(event_id="t1", at=1_000_000, amount=1000, card="c1", body=b"body0000"):
    """A payment of one card."""
    return Transaction(event_id, at, at, amount, "EUR", (card,), {}, body)


def label(event_id="t1", fraud=True, at=2_000_000, label_id=None):
    """What was said of a payment."""
    return Label(label_id or f"l-{event_id}", event_id, fraud, "test", at)


class AmountStore:
    """Knows of an event its amount and how many came before; refuses an id with another body."""

    def __init__(self):
        self.bodies = {}
        self.batches = []
        self.sources = []

    def apply(self, batch, source=None):
        self.batches.append(list(batch))
        self.sources.append(source)
        return [self._one(event) for event in batch]

    def _one(self, event):
        if isinstance(event, Label):
            return Applied(Status.LABELLED, 0, ())
        first = self.bodies.setdefault(event.event_id, (event.body, len(self.bodies) + 1))
        if first[0] != event.body:
            return Applied(Status.CONFLICT, 0, ())
        return Applied(Status.FRESH, first[1], (float(event.amount), float(first[1])))

    def positions(self):
        return {(each.topic, each.partition): each.after for each in self.sources if each}

    def close(self):
        pass


class AmountScorer:
    """Scores the first number of the vector, in thousands."""

    name = "amount"
    features = ("amount", "seen")

    def __init__(self):
        self.learned = []

    def score_one(self, vector):
        return min(1.0, vector[0] / 10_000)

    def score_many(self, vectors):
        return [self.score_one(vector) for vector in vectors]

    def learn_one(self, vector, fraud):
        self.learned.append((tuple(vector), fraud))

    def explain_one(self, vector, top=3):
        return [Reason("amount", vector[0], 1.0)]

    def dump(self):
        return b"amount"
