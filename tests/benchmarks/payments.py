"""Payments of three entities for the benchmarks of features: steady in time, seeded, as many a card as one likes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from features.catalogue import DAY_US, FeatureSet
from features.events import Transaction
from features.grammar import Scope, parse_all

ENTITIES = ("card", "merchant", "device")
SCOPE = Scope(ENTITIES, texts=("channel", "country"))
BEGIN = 1_700_000_000_000_000
COUNTRIES = ("FR", "DE", "IT", "ES", "PL", "NL")
CHANNELS = ("online", "shop", "phone")
USUAL = DAY_US * 7
"""`remember`, as a profile has it where it says nothing."""


def features_of(lines: Sequence[str], **changes: int) -> FeatureSet:
    """The features that these lines declare; `changes` of a FeatureSet's bounds."""
    return FeatureSet(parse_all(lines, SCOPE), ENTITIES, **changes)


class Population:
    """Who pays: each entity has so many values, each as likely as the others."""

    def __init__(self, cards: int, merchants: int, devices: int, *, a_day: int, seed: int = 7) -> None:
        """`a_day` payments a day, evenly."""
        self._counts = cards, merchants, devices
        self._a_day = a_day
        self._draw = random.Random(seed)
        self.made = 0

    def payments(self, count: int) -> list[Transaction]:
        """The next ones."""
        return [self.payment() for _ in range(count)]

    def payment(self, **entities: str) -> Transaction:
        """The next one; of the `entities` that are named here, or of any."""
        number = self.made
        self.made += 1
        named = zip(ENTITIES, self._counts, strict=True)
        values = [entities.get(name) or f"{name[0]}{self._draw.randrange(many)}" for name, many in named]
        return self.of(number, *values)

    def of(self, number: int, *entities: str) -> Transaction:
        """The payment of this number, by these."""
        amount, country, channel = (
            self._draw.randrange(100, 20_000),
            self._draw.choice(COUNTRIES),
            self._draw.choice(CHANNELS),
        )
        fields = {"country": country, "channel": channel}
        at = self.now
        return Transaction(f"e{number}", at, at, amount, "EUR", entities, fields, number.to_bytes(8, "big"))

    @property
    def now(self) -> int:
        """The time of the payment that was made last."""
        return BEGIN + self.made * DAY_US // self._a_day
