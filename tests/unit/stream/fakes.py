"""Fakes by hand: a store that counts, a scorer that reads one number."""

from __future__ import annotations

from features.events import Label, Transaction
from features.store import Applied, AtOnce, Status
from models.base import Reason
from stream.keyring import Held


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

    def batch(self, runs):
        return AtOnce(lambda: self.apply_many(runs))

    def apply_many(self, runs):
        return [answer for run in runs for answer in self.apply(*run)]

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


class InMemoryKeys:
    """People's keys in a dict; `asked` tells each question."""

    def __init__(self):
        self.held = {}
        self.order = []
        self.asked = []

    def find(self, people):
        people = list(people)
        self.asked.append(("find", len(people)))
        return {person: self.held[person] for person in people if person in self.held}

    def make(self, newcomers):
        self.asked.append(("make", len(newcomers)))
        for each in newcomers:
            known = self.held.get(each.person, Held())
            if known.key is None and each.arrived_us > known.forgotten_us:
                self.held[each.person] = Held(each.key, known.forgotten_us)
        return {each.person: self.held[each.person] for each in newcomers if each.person in self.held}

    def forget(self, person, at_us):
        had = self.held.get(person, Held()).key is not None
        self.held[person] = Held(None, at_us)
        self.order.append(person)
        return had

    def forgotten(self, after):
        self.asked.append(("forgotten", after))
        return len(self.order), self.order[after:]
