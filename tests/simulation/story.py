"""What is sent through the pipeline, drawn from a seed: payments and labels, and everything that may be wrong with them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace

from features.events import Event, Label, Transaction, to_datetime
from stream.records import ARRIVED, Outgoing

SECOND = 1_000_000
BEGIN_US = 1_767_312_000 * SECOND
CARDS, SHOPS = ("4111", "4222", "4333"), ("north", "south")
HOUR_US = 3_600 * SECOND


@dataclass(frozen=True)
class Input:
    """A record that somebody sends, and what Weir should read in it. Its arrival is its own: no two have the same."""

    topic: str
    key: str
    value: bytes
    arrived_us: int
    event: Event | None  # None: a dead letter
    kind: str

    def record(self) -> Outgoing:
        return Outgoing(self.key.encode(), self.value, ((ARRIVED, b"%d" % self.arrived_us),))


class Story:
    """Tells inputs one by one."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._count = 0
        self._now = BEGIN_US
        self._payments: list[Input] = []  # that may be repeated, contested, labelled
        self._labels: list[Input] = []
        self._announced: list[str] = []  # labelled before they came

    def tell(self, length: int) -> list[Input]:
        """So many inputs, in the order of their arrival."""
        told = [self._next() for _ in range(length)]
        return told + [self.payment(f"late-{at}", "payment", card=CARDS[0]) for at in self._announced]

    def tell_the_last(self, after_us: int) -> list[Input]:
        """For every card, later than all: a label of nothing, and a payment."""
        self._now = after_us + SECOND
        labels = [self._said(f"last-{card}", f"nobody-{card}", card, None) for card in CARDS]
        return labels + [self.payment(f"last-{card}", "payment", card=card) for card in CARDS]

    def _next(self) -> Input:
        self._count += 1
        self._now += self._chance.choice((1, 20, 60, 300)) * SECOND
        kinds = {
            self._fresh: 12,
            self._again: 3 * bool(self._payments),
            self._contested: 2 * bool(self._payments),
            self._label: 6 * bool(self._payments),
            self._label_again: 2 * bool(self._labels),
            self._label_first: 1,
            self._late: 1,
            self._broken: 2,
        }
        return self._chance.choices(list(kinds), list(kinds.values()))[0]()

    def _arrives(self) -> int:
        self._count += 1
        return self._now + self._count

    def _fresh(self) -> Input:
        told = self.payment(f"e{self._count}", "payment", delay_s=self._chance.choice((0, 0, 5, 600)))
        self._payments.append(told)
        return told

    def payment(self, event_id: str, kind: str, delay_s: int = 0, card: str | None = None) -> Input:
        """A payment, as it should be read."""
        arrived = self._arrives()
        card, shop = card or self._chance.choice(CARDS), self._chance.choice(SHOPS)
        cents = self._chance.randrange(100, 9_999)
        time_us = arrived - delay_s * SECOND
        raw = {
            "id": event_id,
            "at": to_datetime(time_us).isoformat(),
            "amount": cents / 100,
            "card": card,
            "merchant": shop,
        }
        value = json.dumps(raw).encode()
        event = Transaction(event_id, time_us, arrived, cents, "EUR", (card, shop), {}, value)
        return Input("transactions", card, value, arrived, event, kind)

    def _again(self) -> Input:
        """The very same record once more."""
        first, arrived = self._chance.choice(self._payments), self._arrives()
        event = _arriving(first.event, arrived)
        return replace(first, arrived_us=arrived, event=event, kind="duplicate")

    def _contested(self) -> Input:
        first = self._chance.choice(self._payments)
        return self.payment(first.event.event_id, "conflict", card=first.key)

    def _late(self) -> Input:
        return self.payment(f"old{self._count}", "late", delay_s=5 * 3_600)

    def _label(self) -> Input:
        of = self._chance.choice(self._payments)
        earlier = [each.event.label_id for each in self._labels if each.event.event_id == of.event.event_id]
        reverses = self._chance.choice(earlier) if earlier and self._chance.random() < 0.5 else None
        told = self._said(f"l{self._count}", of.event.event_id, of.key, reverses)
        self._labels.append(told)
        return told

    def _label_again(self) -> Input:
        """The same label, or one of the same id that says something else."""
        first, arrived = self._chance.choice(self._labels), self._arrives()
        if self._chance.random() < 0.5:
            return replace(
                first, arrived_us=arrived, event=_arriving(first.event, arrived), kind="label again"
            )
        return self._said(first.event.label_id, first.event.event_id, first.key, None)

    def _label_first(self) -> Input:
        """A label whose event comes at the very end, or never."""
        card = CARDS[0]
        event_id = self._count if self._chance.random() < 0.7 else None
        told = self._said(f"l{self._count}", f"late-{event_id}", card, None)
        if event_id is not None:
            self._announced.append(str(event_id))
        return told

    def _said(self, label_id: str, event_id: str, card: str, reverses: str | None) -> Input:
        arrived, fraud = self._arrives(), self._chance.random() < 0.5
        raw = {
            "label_id": label_id,
            "event_id": event_id,
            "label": "fraud" if fraud else "legitimate",
            "source": "test",
            "labelled_at": to_datetime(arrived).isoformat(),
            "reverses": reverses,
            "v": 1,
        }
        event = Label(label_id, event_id, fraud, "test", arrived, reverses)
        return Input("labels", card, json.dumps(raw).encode(), arrived, event, "label")

    def _broken(self) -> Input:
        card, arrived = self._chance.choice(CARDS), self._arrives()
        future = {
            "id": "f",
            "at": "2099-01-01T00:00:00+00:00",
            "amount": 1,
            "card": card,
            "merchant": "north",
        }
        topic, value = self._chance.choice(
            [
                ("transactions", b"{ no json"),
                ("transactions", b'{"id": "x"}'),
                ("transactions", json.dumps(future).encode()),
                ("labels", b'{"label_id": "l", "label": "perhaps"}'),
            ]
        )
        return Input(topic, card, value, arrived, None, "broken")


def _arriving(event: Event | None, arrived_us: int) -> Event:
    if isinstance(event, Transaction):
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        return Transaction(**{**fields, "arrived_us": arrived_us})
    assert isinstance(event, Label)
    return Label(event.label_id, event.event_id, event.fraud, event.source, arrived_us, event.reverses)
