"""The states of networks in memory: the reference for what ``script/carried.lua`` and ``script/kept.lua`` do in Redis."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from features.carried import UNTOLD, Carried, Carrying, Filled, Kept, Recent, carried, checked, idle_us, named
from features.compute import Plan
from features.events import Transaction
from features.folds import NEVER
from features.ids import IdMemory, Remembered, tie_of
from features.shelf import Shelf
from features.windows import Shape

if TYPE_CHECKING:
    from features.store import Source

Told = tuple[Carried | None, float, int]
"""What an event's answer has of a network: see `Applied`."""

NOTHING: Told = (None, UNTOLD, 0)


class State(msgspec.Struct, gc=False):
    """What is kept of one value."""

    mark: int = 0
    latest: int = 0  # the number of the last event of the value: no state can have seen more
    tie: int = 0  # of that event: another one may get its number, where a store lost something
    state: bytes = b""
    touched: int = NEVER  # the store's clock at that event
    epoch: int = NEVER


class Answers:
    """What a network answered first to events, by their numbers, as long as their ids are remembered."""

    def __init__(self, span_us: int) -> None:
        """None yet."""
        self._span_us = span_us
        self._answers: dict[int, float] = {}
        self._age: deque[tuple[int, int]] = deque()

    def put(self, number: int, answer: float, clock: int) -> None:
        """Keep an answer if it is the first one."""
        if number not in self._answers and not math.isnan(answer):
            self._answers[number] = answer
            self._age.append((clock, number))
        while self._age and clock - self._age[0][0] > self._span_us:
            del self._answers[self._age.popleft()[1]]

    def get(self, number: int) -> float:
        """The first answer; NaN if there is none."""
        return self._answers.get(number, UNTOLD)


class Network(msgspec.Struct):
    """One network's states."""

    shelf: Shelf[State]
    answers: Answers
    adopted: int = 0
    is_adopted: bool = False
    position: dict[str, int] | None = None
    written: dict[tuple[str, int], int] = {}


class States:
    """What networks carry, of a store in memory."""

    def __init__(self, plan: Plan, ids: IdMemory) -> None:
        """Nothing is carried yet. `ids` remember the answers."""
        self._plan, self._ids = plan, ids
        self._networks: dict[Carrying, Network] = {}
        self._entity = ""
        self._queued: deque[tuple[Carrying, Kept | Source]] = deque()
        self.carrying: Carrying | None = None
        self._numbers: Recent[int] = Recent()
        self.refused = 0

    def carry(self, entity: str, network: str | None) -> None:
        """What answers tell from now on."""
        self._plan.index_of(entity)
        self._entity = entity
        self.carrying = Carrying(entity, checked(network)) if network is not None else None

    def of(self, network: str) -> Network:
        """The states of a network, by the entity that was last told."""
        return self._of(Carrying(self._entity, checked(network)))

    def _of(self, carrying: Carrying) -> Network:
        if not carrying.entity:
            raise ValueError("nobody has told of which entity networks carry states: see `carry`")
        if carrying not in self._networks:
            shape = Shape((), 0, idle_us(self._plan, carrying.entity), 0)
            self._networks[carrying] = Network(Shelf(shape, lambda _: State()), Answers(self._plan.memory_us))
        return self._networks[carrying]

    # --- applying

    def seen(self, carrying: Carrying, event: Transaction, entry: Remembered, clock: int) -> Told:
        """What is told of an event; `entry` is of its first time, with seq 0 where it was too late."""
        value, number = event.entities[self._plan.index_of(carrying.entity)], entry.seq
        if not value:
            return NOTHING
        network = self._of(carrying)
        told = network.answers.get(number)
        self._numbers.put(event.event_id, number)
        found = network.shelf.find(value, clock)
        if found is None and not math.isnan(told):  # it was forgotten with its state
            return Carried(max(number, network.adopted), b""), told, number
        if found is None and number > network.adopted:
            found = network.shelf.touch(value, clock)
            found.mark, found.touched = number - 1, entry.stamp
        if found is None:
            return Carried(network.adopted, b""), told, number
        if number > found.latest:
            touched = max(found.touched, entry.stamp)
            found = network.shelf.touch(value, clock)
            found.latest, found.touched, found.tie = number, touched, tie_of(event.event_id)
        return Carried(max(found.mark, network.adopted), found.state), told, number

    # --- writing back

    def keep(self, kept: Sequence[Kept], through: Sequence[Source]) -> None:
        """Queue what is to be written back."""
        for each in kept:
            self._queued.append((named(each, self._entity, self.carrying), each))
        for source in through:
            self._queued.append((carried(self.carrying), source))

    def write(self, clock: int) -> tuple[Source, int] | None:
        """Write what waits; gives a source that follows what is lost, and how far its partition was written back."""
        lost = None
        while self._queued:
            carrying, kept = self._queued.popleft()
            network = self._of(carrying)
            if isinstance(kept, Kept):
                self.refused += not self._written(network, kept, clock)
            elif (stored := network.written.get(kept[:2], 0)) < kept.before:
                lost = lost or (kept, stored)
            else:
                network.written[kept[:2]] = max(stored, kept.after)
        return lost

    def _written(self, network: Network, kept: Kept, clock: int) -> bool:
        found = network.shelf.find(kept.value, clock)
        if found is None:
            return False
        numbers = [
            self._numbers.get(event_id) or self._number(event_id, clock) for event_id, _ in kept.answers
        ]
        if not self._goes_on(max(found.mark, network.adopted), found, kept, numbers, clock):
            return False
        found.mark, found.state = kept.after, kept.state
        for number, (_, answer) in zip(numbers, kept.answers, strict=True):
            if number:
                network.answers.put(number, answer, clock)
        return True

    def _goes_on(self, mark: int, found: State, kept: Kept, numbers: Sequence[int], clock: int) -> bool:
        """Whether a state is made from what is stored."""
        if not mark < kept.after <= found.latest or not self._is_last(found, kept, clock):
            return False
        return kept.before == mark or (kept.before < mark and mark in numbers)

    def _is_last(self, found: State, kept: Kept, clock: int) -> bool:
        """Whether the last event that the state has seen is the one of its number here; one that is forgotten may be."""
        if not kept.answers:
            return True
        event_id, _ = kept.answers[-1]
        if kept.after == found.latest:
            return found.tie == tie_of(event_id)
        return self._number(event_id, clock) in (0, kept.after)

    def _number(self, event_id: str, clock: int) -> int:
        entry = self._ids.find(event_id, clock)
        return entry.seq if entry is not None else 0

    # --- filling

    def fill(self, name: str, states: Mapping[str, bytes], position: Mapping[str, int], clock: int) -> None:
        """Write states up to a position."""
        network = self.of(name)
        if clock == NEVER:
            raise ValueError("states are filled beside windows: nothing was applied to this store yet")
        if network.is_adopted:
            raise Filled(name)
        for value, state in states.items():
            network.shelf.touch(value, clock).state = state
        network.position = dict(position)

    def states(self, name: str, values: Sequence[str], clock: int) -> list[bytes]:
        """The states of these values."""
        shelf = self.of(name).shelf
        found = [shelf.find(value, clock) for value in values]
        return [each.state if each is not None else b"" for each in found]

    def adopt(self, name: str, newest: int, positions: dict[tuple[str, int], int]) -> None:
        """A network has seen what came up to here."""
        network = self.of(name)
        network.adopted, network.is_adopted, network.written = newest, True, dict(positions)

    def drop(self, name: str) -> None:
        """Forget a network."""
        self.of(name)
        del self._networks[Carrying(self._entity, name)]

    def forget(self, entity: str, value: str) -> bool:
        """Drop what all networks carry of a value; whether there was anything."""
        found = [each.shelf for carrying, each in self._networks.items() if carrying.entity == entity]
        return sum(shelf.drop(value) for shelf in found) > 0


class StatesInMemory:
    """The part of features.carried.CarryingStore that a store in memory has."""

    _states: States
    _clock: int
    _seq: int
    _positions: dict[tuple[str, int], int]

    @property
    def refused(self) -> int:
        """How many states were not written."""
        return self._states.refused

    def carry(self, entity: str, network: str | None) -> None:
        """What answers tell from the next batch on."""
        self._states.carry(entity, network)

    def keep(self, kept: Sequence[Kept], through: Sequence[Source] = ()) -> None:
        """Write these back before the next batch."""
        self._states.keep(kept, through)

    def flush(self) -> None:
        """Write back what waits."""
        self._write_back()

    def _write_back(self) -> None:
        raise NotImplementedError

    def written(self, network: str) -> dict[tuple[str, int], int]:
        """Up to where a network has seen the log."""
        return dict(self._states.of(network).written)

    def fill(self, network: str, states: Mapping[str, bytes], position: Mapping[str, int]) -> None:
        """Write states up to a position."""
        self._states.fill(network, states, position, self._clock)

    def filled(self, network: str) -> dict[str, int] | None:
        """The position up to which they are filled."""
        position = self._states.of(network).position
        return None if position is None else dict(position)

    def states(self, network: str, values: Sequence[str]) -> list[bytes]:
        """The states of these values."""
        return self._states.states(network, values, self._clock)

    def adopt(self, network: str) -> None:
        """What was applied so far it has seen."""
        self._states.adopt(network, self._seq, self._positions)

    def adopted(self, network: str) -> bool:
        """Whether it was adopted."""
        return self._states.of(network).is_adopted

    def drop_states(self, network: str) -> None:
        """Forget a network."""
        self._states.drop(network)
