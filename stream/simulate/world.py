"""Who pays where: cards with habits and merchants with prices, all of it a function of the seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import msgspec

COUNTRIES = (("DE", "EUR"), ("FR", "EUR"), ("ES", "EUR"), ("NL", "EUR"), ("GB", "GBP"), ("US", "USD"))
"""Where cards and merchants are at home, and what is paid with there."""

COUNTRY_SHARES = (30, 25, 15, 15, 10, 5)


class Merchant(msgspec.Struct, frozen=True):
    """A shop or a web shop."""

    name: str
    country: str
    online: bool
    price: float  # its typical amount, major units
    tills: int  # devices of its own; web shops have none


class Card(msgspec.Struct, frozen=True):
    """A payment card and its holder's habits."""

    name: str  # a token, never anything like a card number
    country: str
    currency: str
    activity: float  # its share of the day's payments, relative to other cards
    amount_mu: float  # amounts are log-normal: the mean and
    amount_sigma: float  # the deviation of their logarithm
    hour: float  # when it is used most, 0..24
    merchants: tuple[int, ...]  # its usual ones, the first most often
    device: str  # the phone or browser it pays online with
    next_device: str  # what replaces it
    device_day: int  # and when


class World:
    """Cards and merchants."""

    def __init__(self, seed: int, cards: int, merchants: int) -> None:
        """Make `cards` cards and `merchants` merchants; the same three numbers always make the same world."""
        random = Random(f"world {seed}")
        self.merchants = [_merchant(random, number) for number in range(merchants)]
        at_home = {
            country: [n for n, shop in enumerate(self.merchants) if shop.country == country]
            for country, _ in COUNTRIES
        }
        self.cards = [_card(random, number, at_home, merchants) for number in range(cards)]


def _merchant(random: Random, number: int) -> Merchant:
    country = random.choices(COUNTRIES, COUNTRY_SHARES)[0][0]
    online = random.random() < 0.35
    price = math.exp(random.gauss(3.3, 0.8))
    return Merchant(f"merchant_{number:04d}", country, online, price, 0 if online else random.randint(1, 4))


def _card(random: Random, number: int, at_home: dict[str, list[int]], merchants: int) -> Card:
    country, currency = random.choices(COUNTRIES, COUNTRY_SHARES)[0]
    near = at_home[country] or range(merchants)
    return Card(
        name=f"card_{number:06d}",
        country=country,
        currency=currency,
        activity=random.lognormvariate(0.0, 0.6),
        amount_mu=random.gauss(3.2, 0.5),
        amount_sigma=random.uniform(0.3, 0.7),
        hour=random.triangular(7, 23, 16),
        merchants=_usual(random, near, merchants),
        device=f"device_{number:06d}a",
        next_device=f"device_{number:06d}b",
        device_day=random.randint(1, 400),
    )


def _usual(random: Random, near: Sequence[int], merchants: int) -> tuple[int, ...]:
    """A handful of merchants, most of them near home."""
    chosen = random.sample(near, min(len(near), random.randint(3, 8)))
    return (*chosen, random.randrange(merchants))
