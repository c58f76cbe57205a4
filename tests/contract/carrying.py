"""A worker that steps a toy network and writes its states back, as the score role does; and the same without faults."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b

from features.carried import Carried, Kept
from features.events import Event, Transaction
from features.store import FeatureStore, Run, Source, Status
from tests.contract.schedules import REMEMBER

NETWORK = "0badcafe"


def stepped(state: bytes, event_id: str) -> bytes:
    """The state after an event: how many there were, and a chain of their ids, so that none may be missing, twice or astray."""
    count = int.from_bytes(state[:4], "big") + 1
    return count.to_bytes(4, "big") + blake2b(state + event_id.encode(), digest_size=8 + count % 5).digest()


def answer_of(state: bytes, event_id: str) -> float:
    """What the network says of an event that it meets in this state."""
    return struct.unpack("<I", blake2b(b"answer" + state + event_id.encode(), digest_size=4).digest())[0] / 7


class Worker:
    """Reads a log of one partition; batches may be applied before the states of those before them are written back."""

    def __init__(self, store: FeatureStore, log: Sequence[Event], start: int) -> None:
        self.store, self.log, self.at = store, log, start
        self.answers: list[tuple[str, float]] = []  # of what is no late event
        self._states: dict[str, Carried] = {}  # on their way to the store
        self._said: dict[str, float] = {}
        self._applied: list[tuple[int, Sequence[Event], object]] = []
        self._kept: list[tuple[int, list[Kept]]] = []
        self.done = self.saw = start  # what is written back, and what is on its way there
        store.carry("card", NETWORK)

    def apply(self, count: int) -> None:
        """The next batch; what was answered is written back with it."""
        events = self.log[self.at : self.at + count]
        source = Source(
            "transactions", 0, self.at, self.at + len(events), range(self.at, self.at + len(events))
        )
        batch = self.store.batch([Run(events, source)])
        self._give()
        batch.apply()
        self._gave()
        self.at += len(events)
        self._applied.append((self.at, events, batch))

    def answer(self) -> None:
        """Step and answer the oldest batch that was applied."""
        if self._applied:
            end, events, batch = self._applied.pop(0)
            kept: dict[str, tuple[int, list[tuple[str, float]]]] = {}
            out: list[Kept] = []
            for event, applied in zip(events, batch.answers(), strict=True):
                if applied.carried is not None:
                    self._step(event, applied, kept, out)
            out += [self._as_kept(value, *each) for value, each in kept.items()]
            self._kept.append((end, out))

    def _step(self, event, applied, kept, out) -> None:
        value, mine = event.entities[0], self._states.get(event.entities[0])
        state = applied.carried if mine is None or applied.carried.mark >= mine.mark else mine
        if applied.number == 0:
            assert applied.status is Status.LATE
            return
        if applied.number <= state.mark:
            told = applied.told if not math.isnan(applied.told) else self._said.get(event.event_id, math.nan)
            self.answers.append((event.event_id, told))
            return
        if value in kept and state is not mine:  # a new life
            out.append(self._as_kept(value, *kept.pop(value)))
        answer = answer_of(state.state, event.event_id)
        self.answers.append((event.event_id, answer))
        self._said[event.event_id] = answer
        self._states[value] = Carried(applied.number, stepped(state.state, event.event_id))
        kept.setdefault(value, (state.mark, []))[1].append((event.event_id, answer))

    def _as_kept(self, value: str, before: int, answers: list[tuple[str, float]]) -> Kept:
        mark, state = self._states[value]
        return Kept(value, before, mark, state, answers, NETWORK)

    def _give(self) -> None:
        for end, kept in self._kept:
            self.store.keep(kept, [Source("transactions", 0, self.saw, end)])
            self.saw = max(self.saw, end)

    def _gave(self) -> None:
        self.done = max([self.done, *(end for end, _ in self._kept)])
        self._kept.clear()

    def settle(self) -> None:
        """Answer everything, and write it back."""
        while self._applied:
            self.answer()
        self._give()
        self.store.flush()
        self._gave()


def without_faults(
    store: FeatureStore, log: Sequence[Event], forgets: Sequence[tuple[int, str]], idle_us: int
) -> tuple[dict[str, list[float]], dict[str, bytes]]:
    """The answers, and the states in the end, where every event is stepped when it comes. `store` tells only which are new."""
    states: dict[str, tuple[int, bytes]] = {}
    answers: dict[str, list[float]] = {}  # several of an id that was forgotten between
    clock = 0
    for at, event in enumerate([*log, None]):
        for _, value in (each for each in forgets if each[0] == at):
            states.pop(value, None)
        if event is None:
            break
        clock = max(clock, event.arrived_us)
        (applied,) = store.apply([event])
        if isinstance(event, Transaction) and applied.status is Status.FRESH and event.entities[0]:
            touched, state = states.get(event.entities[0], (clock, b""))
            state = state if clock - touched <= idle_us else b""
            answers.setdefault(event.event_id, []).append(answer_of(state, event.event_id))
            states[event.entities[0]] = clock, stepped(state, event.event_id)
    return answers, {value: state for value, (touched, state) in states.items() if clock - touched <= idle_us}


def first(answers: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Of several answers to an event the first that there is."""
    return dict(reversed([each for each in answers if not math.isnan(each[1])]))


def of_one_use(log: list[Event]) -> list[Event]:
    """A log whose ids are never used for something else after they were forgotten."""
    if told_again(log, 0, len(log)):
        return log
    first = {event.event_id: event for event in reversed(log) if isinstance(event, Transaction)}
    return [event for event in log if not isinstance(event, Transaction) or first[event.event_id] is event]


def told_again(log: Sequence[Event], first: int, last: int) -> bool:
    """Whether all of a log's events from `first` on would still be known if they came again after those before `last`."""
    clock = max([event.arrived_us for event in log[:last]], default=0)
    return all(clock - event.arrived_us <= REMEMBER for event in log[first:last])
