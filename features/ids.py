"""What is remembered of each event id: that it was applied, with which body and answer, and what was said of it.

Entries are forgotten by the store's own clock, the latest arrival so far: never by the clock on the wall.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

import msgspec

GENERATIONS = 4
"""Ids are dropped together with all of their generation: at most 1/4 of the memory's span too late."""

LONG = 1 << 63


class Said(NamedTuple):
    """A label as its event remembers it."""

    key: bytes  # `label_key`
    tie: int
    fraud: bool
    arrived_us: int
    seq: int
    reverses: bytes  # key of the label that this one takes back; b"" for none


class Remembered(msgspec.Struct, array_like=True, gc=False):
    """An id: of an event that was applied, or (seq 0) of one that only labels have spoken of yet."""

    stamp: int  # the store's clock when it was remembered
    seq: int = 0
    arrived_us: int = 0
    body: bytes = b""
    approximate: bool = False
    raw: list[int | str] = []  # beyond 64 bits as text
    owners: list[str] = []  # values of the entities that its labels count for
    said: list[Said] = []

    def said_by(self, key: bytes) -> Said | None:
        """The label of this key."""
        return next((each for each in self.said if each.key == key), None)


class IdMemory:
    """Event ids of the last `span_us`, packed."""

    def __init__(self, span_us: int) -> None:
        """Knows no id yet."""
        self._span_us = span_us
        self._length_us = -(-span_us // GENERATIONS)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Remembered).decode
        self._generations: deque[tuple[int, dict[str, bytes]]] = deque()  # the newest first

    def __len__(self) -> int:
        """How many ids are held, those included that are forgotten but not yet dropped."""
        return sum(len(entries) for _, entries in self._generations)

    def find(self, event_id: str, clock: int) -> Remembered | None:
        """What is remembered of an id as of `clock`."""
        for _, entries in self._generations:
            packed = entries.get(event_id)
            if packed is not None:
                entry = self._decode(packed)
                return entry if clock - entry.stamp <= self._span_us else None
        return None

    def keep(self, event_id: str, entry: Remembered) -> None:
        """Remember an entry, instead of any other of this id, from its stamp on. Stamps never go back."""
        generation = entry.stamp // self._length_us
        generations = self._generations
        if not generations or generations[0][0] != generation:
            generations.appendleft((generation, {}))
            while entry.stamp - (generations[-1][0] + 1) * self._length_us > self._span_us:
                generations.pop()
        generations[0][1][event_id] = self._packed(entry)

    def change(self, event_id: str, entry: Remembered) -> None:
        """Change an entry where it stands: it is forgotten no later."""
        for _, entries in self._generations:
            if event_id in entries:
                entries[event_id] = self._packed(entry)
                return

    def _packed(self, entry: Remembered) -> bytes:
        try:
            return self._encode(entry)
        except OverflowError:
            entry.raw = [each if abs(int(each)) < LONG else str(each) for each in entry.raw]
            return self._encode(entry)


def tie_of(text: str) -> int:
    """Orders records of equal time: the same in every store, process and run."""
    return crc32(text.encode())


def label_key(event_id: str, label_id: str) -> bytes:
    """A label of an event in eight bytes."""
    return blake2b(f"{event_id}\0{label_id}".encode(), digest_size=8).digest()
