"""Five times what the workers can do, at once: how their memory goes, what waits, how long it takes to drain."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import msgspec
import psutil
from sqlalchemy import func, select

from stream import bootstrap
from stream.broker import progress_for, publisher_for
from stream.decisions import DEAD_TRANSACTIONS, DECISIONS, TRANSACTIONS
from stream.readiness import READS
from stream.records import Outgoing
from stream.review import tables as t
from stream.review.ledger import Ledger
from tests.acceptance.drill import PATIENCE
from tests.acceptance.harness import eventually

TIMES = 5
SLICE = 500
SOON = 2_000  # records that wait while the load is as high as it can be, and not higher
STUCK_SECONDS = 60.0


class Measured(msgspec.Struct):
    """What an overload did."""

    rate: float  # events a second that all roles together can do
    steady: dict[str, int]  # by role: the highest RSS at full load, in bytes
    highest: dict[str, int]  # ... while far more waits than can be done, and until it is drained
    backlog: int  # events that waited at most
    drain_seconds: float
    sent: int
    recorded: int  # different events in SQL
    dead: int

    @property
    def growth(self) -> dict[str, float]:
        """By role: the highest RSS of the overload against that before it."""
        return {role: self.highest[role] / self.steady[role] for role in self.steady}


class Memory(threading.Thread):
    """The highest RSS of some processes since it was last asked for."""

    def __init__(self, processes):
        super().__init__(name="memory", daemon=True)
        self._processes = {role: psutil.Process(each.pid) for role, each in processes.items()}
        self._highest = dict.fromkeys(processes, 0)
        self._ended = threading.Event()

    def run(self):
        while not self._ended.wait(0.1):
            for role, process in self._processes.items():
                self._highest[role] = max(self._highest[role], process.memory_info().rss)

    def taken(self):
        found, self._highest = self._highest, dict.fromkeys(self._highest, 0)
        return found

    def end(self):
        self._ended.set()
        self.join()


class Payments:
    """Payments of some thousand cards that happen now, one after the other."""

    def __init__(self):
        self.count = 0
        self._first = datetime.now(UTC) - timedelta(minutes=50)

    def some(self, count):
        return [self._one() for _ in range(count)]

    def _one(self):
        self.count += 1
        number = self.count
        card = f"card_{number * 7919 % 4_000:06}"
        told = {
            "id": f"over-{number}",
            "at": (self._first + timedelta(milliseconds=number)).isoformat(),
            "card": card,
            "merchant": f"m-{number * 104_729 % 500}",
            "device": f"d-{number * 7919 % 4_000}",
            "country": "FR",
            "channel": "chip",
            "amount": 1 + number % 90,
            "currency": "EUR",
        }
        return Outgoing(card.encode(), msgspec.json.encode(told))


def overload(drill, seconds=8.0):
    """Load the running workers of `drill` fully for so long, then with TIMES as much as they can do in that time."""
    memory = Memory(dict(zip(READS, drill.workers, strict=True)))
    payments, topic = Payments(), drill.config.topic(TRANSACTIONS)
    with closing(publisher_for(drill.config.broker)) as publisher:
        publisher.publish(topic, payments.some(SLICE))
        eventually(lambda: recorded_up_to(drill) >= SLICE, "the workers work", PATIENCE)
        fed(drill, publisher, topic, payments, seconds)  # the first time caches fill
        memory.start()
        rate = fed(drill, publisher, topic, payments, seconds)
        steady = memory.taken()
        burst = int(TIMES * rate * seconds)
        for _ in range(0, burst, SLICE):
            publisher.publish(topic, payments.some(SLICE))
    began, backlog = time.monotonic(), payments.count - decided(drill)
    drain(drill)
    drained = time.monotonic() - began
    highest = memory.taken()
    memory.end()
    recorded, dead = accounted(drill)
    return Measured(rate, steady, highest, backlog, drained, payments.count, recorded, dead)


def fed(drill, publisher, topic, payments, seconds):
    """Keep the workers busy, with little that waits; gives events a second."""
    began, before = time.monotonic(), recorded_up_to(drill)
    while time.monotonic() - began < seconds:
        if payments.count - recorded_up_to(drill) < SOON:
            publisher.publish(topic, payments.some(SLICE))
        else:
            time.sleep(0.02)
    return (recorded_up_to(drill) - before) / (time.monotonic() - began)


def decided(drill):
    """Events whose chunk the score role has committed."""
    return done_of(drill, "score", TRANSACTIONS)


def recorded_up_to(drill):
    """Decisions whose chunk the record role has committed."""
    return done_of(drill, "record", DECISIONS)


def done_of(drill, role, topic):
    group = bootstrap.group_of(drill.config, role)
    return sum(progress_for(drill.config.broker).committed(group, drill.config.topic(topic)).values())


def drain(drill):
    """Wait until nothing waits, as long as anything moves."""
    seen, since = None, time.monotonic()
    while not drill.done():
        now = (decided(drill), recorded_up_to(drill), done_of(drill, "learn", DECISIONS))
        if now != seen:
            seen, since = now, time.monotonic()
        assert time.monotonic() - since < STUCK_SECONDS, f"nothing moves any more: {now}"
        time.sleep(0.3)


def accounted(drill):
    """Different events in SQL, and dead letters on the log."""
    dead = progress_for(drill.config.broker).end_offsets(drill.config.topic(DEAD_TRANSACTIONS))
    with closing(Ledger.open(drill.config.database)) as ledger, ledger.engine.connect() as db:
        found = db.execute(select(func.count()).select_from(t.decisions)).scalar_one()
    return int(found), sum(dead.values())
