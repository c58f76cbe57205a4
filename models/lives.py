"""Rows of a stream arranged into lives: the events of each card in the order in which they arrived.

Rows stay where they are, however many there are: a life is a run of places in one array of row numbers, and what a
network reads next is looked up when it reads it. Shapes: N rows, F features, B cards read side by side, T events of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

FRAUD, LEGITIMATE, UNKNOWN = 1, 0, -1
"""What a label says; UNKNOWN where none has arrived by the time of training."""

STIRRED = 10.0
"""Lives whose lengths differ by less may fall into one group in one epoch, and into two in the next."""


class Rows(NamedTuple):
    """Events in the order in which they arrived."""

    names: tuple[str, ...]  # of the features
    vectors: Matrix  # [N, F], NaN where not known
    cards: NDArray[np.int32]  # [N], a number for each value of the entity whose life is read
    times: Numbers  # [N], microseconds since 1970, never falling
    labels: NDArray[np.int8]  # [N], FRAUD, LEGITIMATE or UNKNOWN

    def at(self, places: NDArray[np.intp]) -> Rows:
        """The rows at these places, in this order."""
        return Rows(
            self.names, self.vectors[places], self.cards[places], self.times[places], self.labels[places]
        )

    def digest(self) -> str:
        """Equal rows have equal digests."""
        found = blake2b("\n".join(self.names).encode(), digest_size=16)
        for column in self[1:]:
            found.update(np.ascontiguousarray(column).data)
        return found.hexdigest()


class Piece(NamedTuple):
    """What is read in one go."""

    fresh: bool  # these cards' first: they have no state yet
    rows: Numbers  # [B, T]: the events' rows; UNKNOWN behind a card's last one. The cards that live on come first


class Lives:
    """The lives of all cards that have a row which counts, each up to the last such row."""

    def __init__(self, cards: NDArray[np.int32], counting: Mask, *, whole: bool = True) -> None:
        """For rows in the order of arrival, of these `cards`; `counting` are those whose scores are wanted.

        A life begins with its card's first row, or, where it is not `whole`, with the first that counts.
        """
        self.order = np.argsort(cards, kind="stable")
        sorted_cards = cards[self.order]
        starts = np.flatnonzero(np.r_[True, sorted_cards[1:] != sorted_cards[:-1]][: len(cards)])
        counted = counting[self.order]
        places = np.arange(len(cards))
        last, first = np.zeros((2, 0), np.int64)
        if len(cards):
            last = np.maximum.reduceat(np.where(counted, places, -1), starts)
            first = np.minimum.reduceat(np.where(counted, places, len(cards)), starts)
        kept = last >= 0
        self.starts: Numbers = (starts if whole else first)[kept]
        self.stops: Numbers = last[kept] + 1

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def events(self) -> int:
        """How many there are in all."""
        return int((self.stops - self.starts).sum())

    def groups(self, cards: int, random: np.random.Generator | None = None) -> list[Numbers]:
        """The lives in groups of about the same length, `cards` in each, the longest of a group first.

        With `random` lives of about the same length are mixed, and the groups come in any order; without it the longest come first.
        """
        lengths = (self.stops - self.starts).astype(np.float64)
        stirred = lengths + random.random(len(lengths)) * STIRRED if random else lengths
        order = np.argsort(-stirred, kind="stable")
        groups = [
            part[np.argsort(-lengths[part], kind="stable")]
            for part in (order[begin : begin + cards] for begin in range(0, len(order), cards))
        ]
        if random:
            random.shuffle(groups)
        return groups

    def pieces(self, group: Numbers, events: int) -> Iterator[Piece]:
        """The lives of a group, `events` of each at a time."""
        starts, stops = self.starts[group], self.stops[group]
        longest = int((stops - starts).max())
        for begin in range(0, longest, events):
            living = int(np.count_nonzero(starts + begin < stops))
            places = starts[:living, None] + np.arange(begin, min(begin + events, longest))
            there = places < stops[:living, None]
            yield Piece(begin == 0, np.where(there, self.order[np.minimum(places, stops.max() - 1)], UNKNOWN))


def codes(values: Sequence[str], known: dict[str, int]) -> list[int]:
    """A number for each value: those that are `known`, and the next ones for new values, which are known then.

    >>> codes(["a", "b", "a"], {})
    [0, 1, 0]
    """
    return [known.setdefault(value, len(known)) for value in values]
