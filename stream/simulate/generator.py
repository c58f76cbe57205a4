"""The simulator: each day's payments, honest and fraudulent, as a pure function of the seed and the day.

So a run may stop anywhere and go on later, or elsewhere, with the very same payments under the very same ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import NamedTuple

import msgspec

from stream.simulate.payment import DAY_MS, FIRST_DAY, FIRST_DAY_US, HOUR_MS, Payment, online_at
from stream.simulate.scenarios import DORMANT_DAYS, LONGEST_DAYS, SCENARIOS, Scenario, dormant_card
from stream.simulate.world import COUNTRIES, Card, World

CONFIRMED_DAYS = 4.0
"""An honest payment counts as such when nobody complained for so long."""

MISSING_SHARE = 0.1
"""So much of the fraud is never reported: it gets no label."""

LONGEST_DELAY_DAYS = 14
"""Every label arrives within so many days of its payment."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What makes one simulation differ from another."""

    seed: int = 1
    cards: int = 3_000
    merchants: int = 400
    per_day: float = 2_000.0  # payments, on average
    fraud_rate: float = 0.008  # of them


class Simulated(NamedTuple):
    """One payment and the truth about it."""

    raw: dict[str, object]  # what the stream sees
    fraud: bool
    label_arrives_us: int | None  # when the truth becomes known; None: never
    at_us: int
    scenario: str  # "" for an honest payment


class Simulator:
    """Endless payments in time order, from the first day on.

    >>> first = next(iter(Simulator(Settings(cards=50, merchants=20, per_day=100))))
    >>> first.raw["id"], first.raw["at"][:10], first.fraud
    ('pay-1-00000-00000', '2026-01-01', False)
    """

    def __init__(self, settings: Settings = Settings()) -> None:  # noqa: B008 - frozen
        """Make the world that `settings` describe."""
        self.settings = settings
        self.world = World(settings.seed, settings.cards, settings.merchants)
        self._fraud_per_day = settings.per_day * settings.fraud_rate
        activity = sum(card.activity for card in self.world.cards)
        self._per_activity = settings.per_day * (1 - settings.fraud_rate) / activity
        self._episodes_of = lru_cache(maxsize=LONGEST_DAYS + DORMANT_DAYS + 2)(self._episodes)
        self._sleepers_of = lru_cache(maxsize=DORMANT_DAYS + 2)(self._sleepers)

    def __iter__(self) -> Iterator[Simulated]:
        """All payments, day by day, without end."""
        day = 0
        while True:
            yield from self.day(day)
            day += 1

    def day(self, day: int) -> list[Simulated]:
        """The payments of one day, in time order."""
        told = [(payment, None) for payment in self._honest(day)] + self._fraud(day)
        told.sort(key=lambda each: (each[0].at_ms, each[0].card.name, each[0].merchant, each[0].amount))
        random = self._random("labels", day)
        return [
            self._simulated(random, f"pay-{self.settings.seed}-{day:05d}-{number:05d}", payment, scenario)
            for number, (payment, scenario) in enumerate(told)
        ]

    def _simulated(
        self, random: Random, event_id: str, payment: Payment, scenario: Scenario | None
    ) -> Simulated:
        at_us = FIRST_DAY_US + payment.at_ms * 1_000
        delay = _delay_us(random, scenario)
        arrives = None if delay is None else at_us + delay
        name = scenario.name if scenario else ""
        return Simulated(payment.raw(event_id), scenario is not None, arrives, at_us, name)

    def _random(self, what: str, day: int) -> Random:
        return Random(f"{what} {self.settings.seed} {day}")

    def _honest(self, day: int) -> Iterator[Payment]:
        random = self._random("honest", day)
        asleep = {name for start in range(day, day + DORMANT_DAYS) for name in self._sleepers_of(start)}
        weekend = 1.15 if (FIRST_DAY.weekday() + day) % 7 >= 5 else 0.94
        for card in self.world.cards:
            for _ in range(_poisson(random, card.activity * self._per_activity * weekend)):
                payment = self._usual(random, card, day)
                if card.name not in asleep:
                    yield payment

    def _usual(self, random: Random, card: Card, day: int) -> Payment:
        """One payment as its holder makes them; now and then at a new place, abroad, or a big one."""
        at = day * DAY_MS + int(random.gauss(card.hour, 3.5) % 24 * HOUR_MS)
        known = random.random() < 0.85
        number = random.choice(card.merchants) if known else random.randrange(len(self.world.merchants))
        merchant = self.world.merchants[number]
        amount = math.sqrt(random.lognormvariate(card.amount_mu, card.amount_sigma) * merchant.price)
        if random.random() < 0.01:
            amount *= random.uniform(3, 10)
        if merchant.online:
            device = card.next_device if day >= card.device_day else card.device
            away = random.choice(COUNTRIES)[0] if random.random() < 0.02 else ""
            return online_at(at, card, merchant, device, amount, away)
        till = f"pos_{number:04d}_{random.randint(1, merchant.tills)}"
        channel = "contactless" if amount < 50 and random.random() < 0.7 else "chip"
        return Payment(at, card, merchant.name, till, merchant.country, channel, amount)

    def _fraud(self, day: int) -> list[tuple[Payment, Scenario | None]]:
        return [
            (payment, scenario)
            for start in range(max(0, day - LONGEST_DAYS), day + 1)
            for scenario, payments in self._episodes_of(start)
            for payment in payments
            if payment.at_ms // DAY_MS == day
        ]

    def _episodes(self, start: int) -> list[tuple[Scenario, list[Payment]]]:
        """The episodes that begin on day `start`, with all their payments."""
        return [
            (scenario, list(scenario.play(random, self.world, at_ms)))
            for scenario, random, at_ms in self._beginnings(start)
        ]

    def _sleepers(self, start: int) -> list[str]:
        """The cards whose takeover begins on day `start`."""
        return [
            dormant_card(random, self.world).name
            for scenario, random, _ in self._beginnings(start)
            if scenario.name == "takeover"
        ]

    def _beginnings(self, start: int) -> Iterator[tuple[Scenario, Random, int]]:
        random = self._random("episodes", start)
        for scenario in SCENARIOS:
            for _ in range(_poisson(random, self._fraud_per_day * scenario.share / scenario.size)):
                at_ms = start * DAY_MS + random.randrange(DAY_MS)
                yield scenario, Random(random.getrandbits(64)), at_ms


def _delay_us(random: Random, scenario: Scenario | None) -> int | None:
    """How long after a payment its label arrives; None for the fraud that nobody reports."""
    days = CONFIRMED_DAYS
    if scenario is not None:
        if random.random() < MISSING_SHARE:
            return None
        days = min(random.lognormvariate(math.log(scenario.delay_days), 0.5), LONGEST_DELAY_DAYS)
    return int(days * 86_400_000_000)


def _poisson(random: Random, mean: float) -> int:
    """How often something happens that happens `mean` times on average (Knuth's method)."""
    limit, product, count = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count
