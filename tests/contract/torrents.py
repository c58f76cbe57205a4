"""Long schedules of events and labels, seeded: out of order, of equal times, late, ahead, repeated, contested, taken back.

Values of entities come and go, so that each has some dozens or hundreds of records in its life; some come back after they
were forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from features.catalogue import CALENDAR, CURRENCY, FIELDS, RECENT, Feature, FeatureSet, Kind
from features.events import Event, Label, Transaction

Known = TypeVar("Known", Transaction, Label)

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
START = 1_700_000_000 * SECOND
STEP = 10 * SECOND  # between arrivals
REMEMBER, HORIZON = 3 * HOUR, 2 * HOUR
SHORT, LONG = 30 * MINUTE, 6 * HOUR
REMEMBERED = 1200  # what is repeated, or labelled, is one of so many: more than the horizon holds
ENTITIES = ("card", "merchant", "device")
LIVES = {"card": (60, 50), "merchant": (300, 10), "device": (120, 25)}
"""How many events each value has in its life, and how many values are alive at once."""

OF_AMOUNTS = (
    Kind.COUNT,
    Kind.SUM,
    Kind.MEAN,
    Kind.MIN,
    Kind.MAX,
    Kind.STD,
    Kind.RATIO,
    Kind.ZSCORE,
    Kind.GAP,
)
OF_LABELS = (Kind.LABELS, Kind.FRAUDS, Kind.RISK, Kind.FRAUD_RUN, Kind.LEGITIMATE_RUN, Kind.RUN_AGE)
SINCE_LABELS = (Kind.SINCE_FRAUD, Kind.SINCE_LEGITIMATE)
FIELD = {"card": "merchant", "merchant": "country", "device": CALENDAR["hour"]}
WINDOWS = {"card": (SHORT, LONG), "merchant": (LONG,), "device": (SHORT,)}


def every_kind() -> FeatureSet:
    """Features of every kind, of three entities, and some parts of them."""
    features = [Feature(kind.value, kind) for kind in (Kind.AMOUNT, Kind.WEEKEND, Kind.NIGHT, Kind.HOUR)]
    features.append(Feature("score", Kind.NUMBER, field="score"))
    features.append(Feature("which", Kind.CATEGORY, field="merchant", size=5))
    for entity in ENTITIES:
        features += _of(entity)
    card = {kind: Feature("", kind, "card", LONG) for kind in (Kind.COUNT, Kind.SUM, Kind.MAX, Kind.RISK)}
    card[Kind.DECAYED_SUM] = Feature("", Kind.DECAYED_SUM, "card", last=4, half_life_us=HOUR)
    for name, part in {"online": {"where": ("channel", "online")}, "currency": {"same": (CURRENCY,)}}.items():
        features += [
            msgspec.structs.replace(each, name=f"card_{kind}_{name}", **part) for kind, each in card.items()
        ]
    return FeatureSet(tuple(features), ENTITIES, "Europe/Paris", REMEMBER, label_horizon_us=HORIZON)


def _of(entity: str) -> Iterator[Feature]:
    for kind in (Kind.SINCE_LAST, Kind.SINCE_FIRST):
        yield Feature(f"{entity}_{kind}", kind, entity)
    for kind, last in zip(sorted(RECENT), range(3, 3 + len(RECENT)), strict=True):
        yield Feature(f"{entity}_{kind}", kind, entity, last=last, half_life_us=HOUR)
    yield Feature(f"{entity}_velocity", Kind.VELOCITY, entity, MINUTE, against_us=SHORT)
    for us in WINDOWS[entity]:
        for kind in (*OF_AMOUNTS, *OF_LABELS, *SINCE_LABELS):
            prior = (1, 5) if kind is Kind.RISK and us == LONG else (0, 0)
            yield Feature(f"{entity}_{kind}_{us // MINUTE}m", kind, entity, us, prior=prior)
        for kind in sorted(FIELDS):
            yield Feature(f"{entity}_{kind}_{us // MINUTE}m", kind, entity, us, FIELD[entity])


class Torrent:
    """A schedule, item by item."""

    def __init__(self, seed: int = 11) -> None:
        self._draw = random.Random(seed)
        self._made = 0
        self._clock = START
        self._events: list[Transaction] = []
        self._labels: list[Label] = []

    def items(self, events: int) -> list[Event]:
        """So many events (the repeated ones among them), and the labels that come between."""
        schedule: list[Event] = []
        while events:
            chance = self._draw.random()
            if self._events and chance < 0.12:
                schedule.append(self._label())
                continue
            events -= 1
            schedule.append(self._again() if self._events and chance < 0.17 else self._event())
        return schedule

    def _one_of(self, made: list[Known]) -> Known:
        """One of the last ones."""
        return made[self._draw.randrange(max(0, len(made) - REMEMBERED), len(made))]

    def _arrived(self) -> int:
        """Later than the last one as a rule."""
        self._clock += self._draw.randrange(2 * STEP // SECOND) * SECOND
        return self._clock - (self._draw.randrange(60) * SECOND if self._draw.random() < 0.05 else 0)

    def _event(self) -> Transaction:
        draw, number = self._draw, self._made
        self._made += 1
        arrived = self._arrived()
        time = (arrived - self._delay()) // (30 * SECOND) * 30 * SECOND  # so that many have the same
        fields: dict[str, str | float] = {"country": draw.choice(("FR", "DE", "IT", ""))}
        fields["channel"] = draw.choice(("online", "shop"))
        if draw.random() < 0.5:
            fields["score"] = draw.random()
        values = tuple("" if draw.random() < 0.02 else self._value(entity) for entity in ENTITIES)
        amount = draw.choice((draw.randrange(1, 20_000), draw.randrange(-500, 500), 1000))
        currency = draw.choice(("EUR", "EUR", "JPY", "KWD"))
        body = number.to_bytes(8, "big")
        event = Transaction(f"e{number}", time, arrived, amount, currency, values, fields, body)
        self._events.append(event)
        return event

    def _delay(self) -> int:
        draw = self._draw
        chance = draw.random()
        if chance < 0.6:
            return 0
        if chance < 0.82:
            return draw.randrange(600) * SECOND
        if chance < 0.91:
            return draw.randrange(REMEMBER // SECOND) * SECOND
        if chance < 0.95:
            return REMEMBER + draw.randrange(LONG // SECOND) * SECOND
        return -draw.randrange(HOUR // SECOND) * SECOND

    def _value(self, entity: str) -> str:
        """One of those that are alive; now and then one of up to three days ago."""
        life, alive = LIVES[entity]
        number = self._made // life + self._draw.randrange(alive)
        if self._draw.random() < 0.005:
            number -= self._draw.randrange(3 * 86_400 // (STEP // SECOND) // life)
        return f"{entity[0]}{max(0, number)}"

    def _again(self) -> Transaction:
        """An event that came before: as it was, or (a fifth) with another body."""
        event = self._one_of(self._events)
        body = event.body if self._draw.random() < 0.8 else b"another0"
        return msgspec.structs.replace(event, arrived_us=self._arrived(), body=body)

    def _label(self) -> Label:
        """Of an event that came, or will; sometimes one that came before, or one that takes another back."""
        draw = self._draw
        if self._labels and draw.random() < 0.05:
            return msgspec.structs.replace(self._one_of(self._labels), arrived_us=self._arrived())
        if self._labels and draw.random() < 0.1:
            wrong = self._one_of(self._labels)
            label = msgspec.structs.replace(
                wrong,
                label_id=f"l{draw.random()}",
                fraud=not wrong.fraud,
                arrived_us=self._arrived(),
                reverses=wrong.label_id,
            )
        else:
            ahead = f"e{self._made + draw.randrange(20)}"
            event_id = ahead if draw.random() < 0.1 else self._one_of(self._events).event_id
            label = Label(f"l{draw.random()}", event_id, draw.random() < 0.3, "torrent", self._arrived())
        self._labels.append(label)
        return label
