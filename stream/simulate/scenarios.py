"""How fraud looks: four stories, each a short run of payments that belong together.

Every scenario takes its own random numbers and the world, and gives the payments of one episode. Amounts,
places and devices overlap with honest ones: none of the stories is told by one field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import msgspec

from stream.simulate.payment import DAY_MS, HOUR_MS, Payment, online_at
from stream.simulate.world import Card, World

LONGEST_DAYS = 15
"""No episode goes on for so many days."""

DORMANT_DAYS = 20
"""So long an account was silent before it is taken over."""


class Scenario(msgspec.Struct, frozen=True):
    """One kind of fraud: how much of all fraud it makes, and how its victims' complaints come in."""

    name: str
    share: float  # of all fraudulent payments
    size: float  # payments of an episode, on average
    delay_days: float  # median from a payment to its chargeback
    play: Callable[[Random, World, int], Iterator[Payment]]


def card_testing(random: Random, world: World, start_ms: int) -> Iterator[Payment]:
    """Stolen numbers are tried with tiny amounts at one web shop, then cashed out hours later."""
    card = random.choice(world.cards)
    device = f"device_x{random.randrange(10**6):06d}"
    shop = _web_shop(random, world)
    at = start_ms
    for _ in range(random.randint(5, 14)):
        at += random.randint(5_000, 240_000)
        yield online_at(at, card, world.merchants[shop], device, random.uniform(0.5, 3.0))
    at += random.randint(HOUR_MS, 20 * HOUR_MS)
    for _ in range(random.randint(2, 5)):
        at += random.randint(60_000, HOUR_MS)
        merchant = world.merchants[_web_shop(random, world)]
        yield online_at(at, card, merchant, device, random.uniform(120, 900))


def stolen_card(random: Random, world: World, start_ms: int) -> Iterator[Payment]:
    """A thief shops online from a device never seen before, far above the holder's usual amounts."""
    card = random.choice(world.cards)
    device = f"device_x{random.randrange(10**6):06d}"
    abroad = random.random() < 0.5
    at = start_ms
    for _ in range(random.randint(3, 8)):
        at += random.randint(10 * 60_000, 6 * HOUR_MS)
        merchant = world.merchants[_web_shop(random, world)]
        amount = _usual_amount(random, card) * random.uniform(2.5, 8.0)
        yield online_at(at, card, merchant, device, amount, merchant.country if abroad else card.country)


def compromised_merchant(random: Random, world: World, start_ms: int) -> Iterator[Payment]:
    """A shop charges cloned cards with ordinary amounts for days: only the shop gives it away."""
    number = random.randrange(len(world.merchants))
    merchant = world.merchants[number]
    days = random.randint(6, 12)
    for _ in range(days * 3):
        at = start_ms + random.randrange(days * DAY_MS)
        card = random.choice(world.cards)
        amount = merchant.price * random.uniform(0.6, 2.0)
        if merchant.online:
            yield online_at(at, card, merchant, card.device, amount)
        else:
            yield Payment(at, card, merchant.name, f"pos_{number:04d}_1", merchant.country, "chip", amount)


def takeover(random: Random, world: World, start_ms: int) -> Iterator[Payment]:
    """An account that slept for weeks wakes up on a new device and buys at shops it never used."""
    card = dormant_card(random, world)
    device = f"device_x{random.randrange(10**6):06d}"
    at = start_ms
    for _ in range(random.randint(4, 10)):
        at += random.randint(20 * 60_000, 8 * HOUR_MS)
        merchant = world.merchants[_web_shop(random, world)]
        amount = _usual_amount(random, card) * random.uniform(1.2, 4.0)
        yield online_at(at, card, merchant, device, amount)


def dormant_card(random: Random, world: World) -> Card:
    """The card of a takeover: its first draw, so that the weeks before can know it and keep it silent."""
    return random.choice(world.cards)


SCENARIOS = (
    Scenario("card_testing", share=0.30, size=13.0, delay_days=1.5, play=card_testing),
    Scenario("stolen_card", share=0.35, size=5.5, delay_days=1.0, play=stolen_card),
    Scenario("compromised_merchant", share=0.15, size=27.0, delay_days=3.0, play=compromised_merchant),
    Scenario("takeover", share=0.20, size=7.0, delay_days=2.5, play=takeover),
)


def _web_shop(random: Random, world: World) -> int:
    """Any web shop; any shop at all in a world that has none."""
    for _ in range(100):
        number = random.randrange(len(world.merchants))
        if world.merchants[number].online:
            return number
    return number


def _usual_amount(random: Random, card: Card) -> float:
    return random.lognormvariate(card.amount_mu, card.amount_sigma)
