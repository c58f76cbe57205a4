"""Fills a network's states from logged decisions: each card's events in order, with the features that they had then.

It is a process beside the worker (`weir fill-states`). At the end of the log it says so and follows it; when it is told to
finish, it takes in what stands there by then and ends. What a killed one has filled stays, and the next goes on behind it.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

import msgspec

from features.store import FeatureStore
from models.base import SequenceModel, Series, Vector
from stream.labels import vector_of
from stream.records import Record, Tail

READY, FINISH = "ready", "finish"
"""What is said when it has come to the end of the log, and what it is told."""

STEP = 5_000
"""Decisions that are read in one step."""


class Logged(msgspec.Struct, gc=False):
    """What is needed of a decision."""

    features: dict[str, float | None]
    entities: dict[str, str]
    seq: int
    late: bool = False


Reveal = Callable[[Sequence[Logged]], Sequence[str]]
"""The cards of decisions, "" where one is not known (any more)."""


class StateFiller:
    """One network's states, made from decisions as they come."""

    def __init__(self, store: FeatureStore, network: str, model: SequenceModel, reveal: Reveal) -> None:
        """Goes on behind what is filled already."""
        self._store, self._network, self._model, self._reveal = store, network, model, reveal
        self._decoder = msgspec.json.Decoder(Logged)
        self._position = dict(store.filled(network) or {})
        self._last: dict[str, int] = {}  # of each card: the number of the last event that was read
        self.events = self.unreadable = 0

    def take(self, records: Sequence[Record]) -> None:
        """The next records of the topic. Raises Filled where somebody else fills, and what the store and the model raise."""
        for start in range(0, len(records), STEP):
            self._take(records[start : start + STEP])

    def _take(self, records: Sequence[Record]) -> None:
        events = self._cards(records)
        position = self._position | {_place(each): each.offset + 1 for each in records}
        cards = list(events)
        states = self._store.states(self._network, cards)
        series = [Series(state, events[card]) for card, state in zip(cards, states, strict=True)]
        made = self._model.advance(series)
        after = {card: each.state for card, each in zip(cards, made, strict=True)}
        self._store.fill(self._network, after, position)
        self._position = position
        self.events += sum(len(each.vectors) for each in series)

    def _cards(self, records: Sequence[Record]) -> Mapping[str, list[Vector]]:
        """By card: the vectors of its new events, each once, in order; none of what is filled already."""
        decisions = list(self._decoded(records))
        found: dict[str, list[Vector]] = {}
        for (record, made), card in zip(
            decisions, self._reveal([each for _, each in decisions]), strict=True
        ):
            if not card or made.late or made.seq <= self._last.get(card, 0):
                continue
            self._last[card] = made.seq
            if record.offset >= self._position.get(_place(record), 0):
                found.setdefault(card, []).append(vector_of(made.features, self._model.features))
        return found

    def _decoded(self, records: Sequence[Record]) -> Iterator[tuple[Record, Logged]]:
        for record in records:
            try:
                yield record, self._decoder.decode(record.value)
            except msgspec.DecodeError:
                self.unreadable += 1


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}"


def run(filler: StateFiller, tail: Tail, orders: TextIO = sys.stdin, say: TextIO = sys.stdout) -> None:
    """Fill to the end of the log, follow it, and end when that is asked for."""
    while not tail.at_end():
        filler.take(tail.read())
    print(READY, file=say, flush=True)
    while not _ordered(orders):
        filler.take(tail.read())
    while records := tail.catch_up():
        filler.take(records)


def _ordered(orders: TextIO) -> bool:
    """Whether the order has come; the end of the input is the end of whoever gives it."""
    there, _, _ = select.select([orders], [], [], 0)
    if not there:
        return False
    line = orders.readline()
    if not line:
        raise EOFError("who had this filled is gone")
    return line.strip() == FINISH
