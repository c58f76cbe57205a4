"""What a run is fed: simulated payments and their labels as they would come on a bad day, a function of the seed.

Payments come late by seconds and by days, twice within `remember` and beyond it, under an id that was used for
something else, ahead of their clock, from the year 2099, and as bytes that nobody can read. Labels come before their event,
twice, are taken back, and speak of events that never were.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

import msgspec

from features.events import to_datetime
from stream.decisions import LABELS, TRANSACTIONS
from stream.records import ARRIVED, Outgoing
from stream.simulate.generator import Settings, Simulated, Simulator

PAYMENTS, PER_DAY = 1_200, 100
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000

UNREADABLE = (b"", b"{", b"[1, 2]", b'{"id": NaN}', b'"text"', b"\xff\xfe", b'{"id": "x", "id": "y"}', b"{}")
"""Values that no codec takes."""


class Arrival(NamedTuple):
    """A record, and when it arrives."""

    at_us: int
    number: int  # makes the order total
    topic: str
    record: Outgoing


def story(seed: int, payments: int = PAYMENTS) -> list[Arrival]:
    """All records in the order of their arrival; the last is a payment, which brings the stream's clock to its end."""
    told = _Teller(Random(f"story {seed}"))
    simulator = Simulator(
        Settings(seed=seed, cards=60, merchants=20, per_day=PER_DAY, fraud_rate=0.05),
    )
    simulated = list(itertools.islice(simulator, payments))
    for each in simulated:
        told.payment(each)
    told.never_were(simulated[-1].at_us)
    told.last(simulated[-1])
    return sorted(told.arrivals)


class _Teller:
    def __init__(self, chance: Random) -> None:
        self.arrivals: list[Arrival] = []
        self._chance = chance

    def payment(self, each: Simulated) -> None:
        at = each.at_us + self._delay_us()
        self._send(at, each.raw)
        if self._happens(0.04):
            self._send(at + self._some(60 * SECOND, 3 * DAY), each.raw)  # again, and remembered
        if self._happens(0.01):
            self._send(at + self._some(7 * DAY + HOUR, 9 * DAY), each.raw)  # again, beyond `remember`
        if self._happens(0.01):
            self._send(at + self._some(SECOND, HOUR), {**each.raw, "amount": "1.23"})  # the id is taken
        if self._happens(0.005):
            self._send(at, {**each.raw, "id": f"{each.raw['id']}-2099", "at": "2099-01-01T00:00:00Z"})
        if self._happens(0.005):
            self._put(at, TRANSACTIONS, _key(each.raw), self._chance.choice(UNREADABLE))
        if self._happens(0.6):
            self._labels(each)

    def never_were(self, end_us: int) -> None:
        """Labels of events that never come, and what is no label."""
        for number in range(5):
            self._label(end_us - number * HOUR, b"nobody", f"never-{number}", f"never-was-{number}", True)
            self._put(end_us - number * HOUR, LABELS, b"nobody", b'{"label_id": "bad", "label": 7}')

    def last(self, each: Simulated) -> None:
        """A payment after everything else."""
        end = max(arrival.at_us for arrival in self.arrivals) + SECOND
        self._send(end, {**each.raw, "id": "the-last", "at": _iso(end)})

    def _labels(self, each: Simulated) -> None:
        name, key = str(each.raw["id"]), _key(each.raw)
        at = each.at_us + self._some(6 * HOUR, 3 * DAY)
        if self._happens(0.03):
            at = each.at_us - self._some(SECOND, HOUR)  # before its event
        self._label(at, key, f"l-{name}", name, each.fraud)
        if self._happens(0.03):
            self._label(at + self._some(SECOND, DAY), key, f"l-{name}", name, each.fraud)  # twice
        if self._happens(0.03):
            back = at + self._some(HOUR, DAY)
            self._label(back, key, f"r-{name}", name, not each.fraud, reverses=f"l-{name}")

    def _label(
        self, at_us: int, key: bytes, label_id: str, event_id: str, fraud: bool, reverses: str | None = None
    ) -> None:
        value: dict[str, Any] = {
            "label_id": label_id,
            "event_id": event_id,
            "label": "fraud" if fraud else "legitimate",
            "source": "chaos",
            "labelled_at": _iso(at_us),
        }
        if reverses:
            value["reverses"] = reverses
        self._put(at_us, LABELS, key, msgspec.json.encode(value))

    def _delay_us(self) -> int:
        """How long after its event a payment arrives; a clock that is ahead makes it less than nothing."""
        if self._happens(0.05):
            longest = self._chance.choice((5 * SECOND, 60 * SECOND, HOUR, DAY, 3 * DAY))
            return self._some(longest // 2, longest)
        if self._happens(0.01):
            return self._some(7 * DAY + HOUR, 9 * DAY)
        if self._happens(0.01):
            return -self._some(SECOND, 50 * 60 * SECOND)
        return self._some(1, 2 * SECOND)

    def _send(self, at_us: int, raw: Mapping[str, object]) -> None:
        self._put(at_us, TRANSACTIONS, _key(raw), msgspec.json.encode(raw))

    def _put(self, at_us: int, topic: str, key: bytes, value: bytes) -> None:
        record = Outgoing(key, value, ((ARRIVED, b"%d" % at_us),))
        self.arrivals.append(Arrival(at_us, len(self.arrivals), topic, record))

    def _happens(self, share: float) -> bool:
        return self._chance.random() < share

    def _some(self, least: int, most: int) -> int:
        return self._chance.randint(least, most)


def runs(arrivals: list[Arrival], size: int) -> Iterator[tuple[str, list[Outgoing]]]:
    """The arrivals in their order, as appends to one topic each, of at most so many records."""
    for topic, group in itertools.groupby(arrivals, key=lambda each: each.topic):
        records = [each.record for each in group]
        for start in range(0, len(records), size):
            yield topic, records[start : start + size]


def _key(raw: Mapping[str, object]) -> bytes:
    return str(raw["card"]).encode()


def _iso(at_us: int) -> str:
    return to_datetime(at_us).isoformat()
