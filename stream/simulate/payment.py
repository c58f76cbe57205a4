"""One simulated payment, and what a stream sees of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from features.events import to_us
from stream.simulate.world import Card, Merchant

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""Day 0 of every simulation: fixed, so that a seed always tells the same story."""

FIRST_DAY_US = to_us(FIRST_DAY)


class Payment(msgspec.Struct, frozen=True, gc=False):
    """A payment before it has an id."""

    at_ms: int  # since FIRST_DAY
    card: Card
    merchant: str
    device: str
    country: str  # where it is paid
    channel: str  # "chip", "contactless" or "online"
    amount: float  # major units

    def raw(self, event_id: str) -> dict[str, object]:
        """The payment as a payment system would send it: the fields that profile `payments` maps."""
        return {
            "id": event_id,
            "at": iso(self.at_ms),
            "card": self.card.name,
            "merchant": self.merchant,
            "device": self.device,
            "country": self.country,
            "channel": self.channel,
            "amount": max(0.01, round(self.amount, 2)),
            "currency": self.card.currency,
        }


def online_at(
    at_ms: int, card: Card, merchant: Merchant, device: str, amount: float, country: str = ""
) -> Payment:
    """A payment in a web shop, from `device`, by default from the card's own country."""
    return Payment(at_ms, card, merchant.name, device, country or card.country, "online", amount)


def iso(at_ms: int) -> str:
    """Milliseconds since FIRST_DAY as ISO 8601 in UTC.

    >>> iso(1_500)
    '2026-01-01T00:00:01.500Z'
    """
    when = FIRST_DAY + timedelta(milliseconds=at_ms)
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
