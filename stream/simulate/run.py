"""The simulator as a process: simulated days pass in seconds on a log, and a restart goes on where it was."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.events import to_datetime
from stream.decisions import LABELS, TRANSACTIONS, LabelRecord
from stream.records import ARRIVED, Outgoing, Publisher
from stream.simulate.generator import LONGEST_DELAY_DAYS, Settings, Simulated, Simulator
from stream.simulate.payment import DAY_MS, FIRST_DAY_US
from stream.wire import encode

DAY_US = DAY_MS * 1_000

BATCH = 500
"""At most so many records go out at a time."""

TICK_SECONDS = 0.1
"""How long to wait when nothing is due: short, so that a stop is prompt."""


class SimulationChanged(Exception):
    """The state kept on disk belongs to a simulation with other settings."""


class Position(msgspec.Struct, frozen=True):
    """How far a simulation was told: `done` arrivals of day `day` are on the log."""

    settings: Settings
    day: int = 0
    done: int = 0


class Arrival(NamedTuple):
    """A record and when it arrives; labels come before payments of the same moment."""

    at_us: int
    topic: str
    name: str  # of the event, to make the order total
    record: Outgoing


class Story:
    """A simulation's payments and labels in the order in which they arrive, day after day."""

    def __init__(self, simulator: Simulator, day: int) -> None:
        """Begin at `day`, with the labels still to come from the days before it."""
        self._simulator = simulator
        self._labels: dict[int, list[Arrival]] = defaultdict(list)
        for earlier in range(max(0, day - LONGEST_DELAY_DAYS - 1), day):
            self._keep_labels(simulator.day(earlier))

    def day(self, day: int) -> list[Arrival]:
        """What arrives on `day`, in order; to be called once a day, for one day after the other."""
        payments = self._simulator.day(day)
        self._keep_labels(payments)
        arrivals = self._labels.pop(day, []) + [_payment(each) for each in payments]
        arrivals.sort(key=lambda arrival: (arrival.at_us, arrival.topic, arrival.name))
        return arrivals

    def _keep_labels(self, payments: Sequence[Simulated]) -> None:
        for each in payments:
            if each.label_arrives_us is not None:
                day = (each.label_arrives_us - FIRST_DAY_US) // DAY_US
                self._labels[day].append(_label(each, each.label_arrives_us))


class Pace:
    """Turns simulated time into wall time: one day takes `day_seconds`."""

    def __init__(self, day_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Stand still until `start`."""
        self._us_per_second = DAY_US / day_seconds
        self._clock = clock
        self._started: tuple[float, int] | None = None

    def now_us(self, at_us: int) -> int:
        """The simulated time; the first call sets it to `at_us`."""
        if self._started is None:
            self._started = (self._clock(), at_us)
        wall, simulated = self._started
        return simulated + int((self._clock() - wall) * self._us_per_second)


class Tempo(msgspec.Struct, frozen=True):
    """How fast a simulation is told."""

    burst_days: int = 20  # so many days go out at once, so that there is a history to learn from
    day_seconds: float = 20.0  # after them, a day takes so long
    days: int | None = None  # stop after so many days; None: go on until told to stop


def run(
    publisher: Publisher,
    state: Path,
    stop: threading.Event,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    tempo: Tempo = Tempo(),  # noqa: B008 - frozen
    prefix: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Tell the simulation on the log, to its last day or until `stop` is set; gives how many records it sent.

    The position is kept in the file `state`, written after each batch is durable: a crash in between sends
    that batch again, the same bytes under the same ids. `prefix` comes before topics' names. Raises
    SimulationChanged when `state` belongs to other settings.
    """
    teller = _Teller(publisher, state, stop, tempo, prefix, Pace(tempo.day_seconds, clock))
    position = load_position(state, settings)
    story = Story(Simulator(settings), position.day)
    while not stop.is_set() and (tempo.days is None or position.day < tempo.days):
        position = teller.tell(story.day(position.day), position)
    return teller.sent


class _Teller:
    """Publishes a day's arrivals, each when it is due."""

    def __init__(
        self,
        publisher: Publisher,
        state: Path,
        stop: threading.Event,
        tempo: Tempo,
        prefix: str,
        pace: Pace,
    ) -> None:
        self.sent = 0
        self._publisher = publisher
        self._state = state
        self._stop = stop
        self._tempo = tempo
        self._prefix = prefix
        self._pace = pace

    def tell(self, arrivals: Sequence[Arrival], position: Position) -> Position:
        """Publish from `position` on; gives the position after: the next day's start, or where it stopped."""
        while position.done < len(arrivals):
            if self._stop.is_set():
                return position
            batch = self._due(arrivals, position)
            if not batch:
                self._stop.wait(TICK_SECONDS)
                continue
            self._publish(batch)
            position = msgspec.structs.replace(position, done=position.done + len(batch))
            save_position(self._state, position)
        return Position(position.settings, position.day + 1)

    def _due(self, arrivals: Sequence[Arrival], position: Position) -> Sequence[Arrival]:
        batch = arrivals[position.done : position.done + BATCH]
        if position.day < self._tempo.burst_days:
            return batch
        now = self._pace.now_us(batch[0].at_us)
        return [arrival for arrival in batch if arrival.at_us <= now]

    def _publish(self, batch: Sequence[Arrival]) -> None:
        """Labels first: an early one is not seen before its time, a late one would be missed."""
        for topic in (LABELS, TRANSACTIONS):
            records = [arrival.record for arrival in batch if arrival.topic == topic]
            if records:
                self._publisher.publish(self._prefix + topic, records)
        self.sent += len(batch)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def load_position(state: Path, settings: Settings) -> Position:
    """Where the last run ended, or the beginning; raises SimulationChanged if that was another one."""
    if not state.exists():
        return Position(settings)
    position = msgspec.json.decode(state.read_bytes(), type=Position)
    if position.settings != settings:
        raise SimulationChanged(
            f"{state} belongs to a simulation with {position.settings}, not {settings}: "
            f"use those settings, or delete the file to start a new one in an empty directory"
        )
    return position


def save_position(state: Path, position: Position) -> None:
    """Replace the file in one step: after a crash it holds the old position or the new one."""
    fresh = state.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(position))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(state)


def _payment(simulated: Simulated) -> Arrival:
    record = Outgoing(_key(simulated), msgspec.json.encode(simulated.raw), _arrived(simulated.at_us))
    return Arrival(simulated.at_us, TRANSACTIONS, str(simulated.raw["id"]), record)


def _label(simulated: Simulated, arrives_us: int) -> Arrival:
    event_id = str(simulated.raw["id"])
    label = LabelRecord(
        label_id=f"sim-{event_id}",
        event_id=event_id,
        label="fraud" if simulated.fraud else "legitimate",
        source="chargeback" if simulated.fraud else "confirmed",
        labelled_at=to_datetime(arrives_us).isoformat(),
    )
    record = Outgoing(_key(simulated), encode(label), _arrived(arrives_us))
    return Arrival(arrives_us, LABELS, event_id, record)


def _key(simulated: Simulated) -> bytes:
    """What profile `payments` partitions by."""
    return str(simulated.raw["card"]).encode()


def _arrived(at_us: int) -> tuple[tuple[str, bytes], ...]:
    return ((ARRIVED, b"%d" % at_us),)
