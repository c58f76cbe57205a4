"""What was delivered in chunks, and what is done of it: the rule of the commit."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stream.attempts import InHand
from stream.records import TP, Record, much

IN_FLIGHT, IN_FLIGHT_BYTES = 4_000, 64_000_000
"""Records, and bytes of their values, that are delivered but not yet taken by an agent: enough to keep it busy."""


class Chunk:
    """A run of one partition's records, in order. An agent calls `done` once what it made of them is durable."""

    __slots__ = (
        "before",
        "condemned",
        "first",
        "is_done",
        "is_taken",
        "last",
        "marks",
        "records",
        "size",
        "suspected",
        "tp",
    )

    def __init__(self, tp: TP, records: Sequence[Record], before: int, marks: Marks) -> None:
        """Chunks are made by the consumer; `before` is the offset behind the chunk before it, or where it started."""
        self.tp = tp
        self.before = before
        self.records = records
        self.first, self.last = records[0].offset, records[-1].offset
        self.size = sum(len(record.value) for record in records)
        self.suspected = False  # a worker died of something in it: nothing else is to be in hand meanwhile
        self.condemned = ""  # why it is not to be worked off, but set aside
        self.is_done = self.is_taken = False
        self.marks = marks

    def take(self) -> None:
        """An agent has it in hand: there is room for another."""
        self.marks.take([self])

    def let_go(self) -> None:
        """Its records are not needed any more, though it is not done yet."""
        self.take()
        self.records = ()

    def done(self) -> None:
        """Let the chunk be committed, as soon as those before it are done too."""
        self.marks.finish([self])


class Marks:
    """What was delivered and what is done, by partition."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._open: dict[TP, deque[Chunk]] = defaultdict(deque)
        self._after: dict[TP, int] = {}
        self._next: dict[TP, int] = {}
        self._began: dict[TP, int] = {}
        self._records = self._bytes = 0  # delivered, but not taken by an agent yet
        self.asked = True  # an agent has nothing to do
        self.much = False  # there is more to read than an agent asks for at once
        self.wanted = asyncio.Event()  # something of this changed
        self.in_hand: Callable[[InHand], None] | None = None
        """Told whenever what is in hand changes: of the partitions that it changes for."""

    @property
    def full(self) -> bool:
        """Whether agents have enough to do."""
        return self._records >= IN_FLIGHT or self._bytes >= IN_FLIGHT_BYTES

    def ask(self) -> None:
        """An agent has nothing left to do: fetch."""
        self.asked = True
        self.wanted.set()

    def serve(self, chunks: Sequence[Chunk]) -> None:
        """These were fetched at once, and are on their way to an agent."""
        self.asked = False
        self.much = much([record for chunk in chunks for record in chunk.records])

    def begin(self, tp: TP, offset: int) -> None:
        """A partition is read from here on."""
        self._next[tp] = self._began[tp] = offset

    def next_of(self, tp: TP) -> int:
        """The offset behind the last chunk that was delivered, or where the partition is read from."""
        return self._next.get(tp, 0)

    def deliver(self, tp: TP, records: Sequence[Record]) -> Chunk:
        """A chunk of these records, to be done after those delivered before it."""
        chunk = Chunk(tp, records, self._next.get(tp, records[0].offset), self)
        self._next[tp] = chunk.last + 1
        self._open[tp].append(chunk)
        self._records += len(records)
        self._bytes += chunk.size
        return chunk

    def take(self, batch: Sequence[Chunk]) -> None:
        """An agent took these chunks, or nobody ever will."""
        fresh = [chunk for chunk in batch if not chunk.is_taken]
        for chunk in fresh:
            chunk.is_taken = True
            self._records -= len(chunk.records)
            self._bytes -= chunk.size
        if fresh:
            self.wanted.set()
            self._tell(fresh)

    def finish(self, batch: Sequence[Chunk]) -> None:
        """These are done: move on over the done chunks at the head of their partitions."""
        self.take(batch)
        for chunk in batch:
            chunk.is_done = True
            self._settle(chunk.tp)
        self._tell(batch)

    def _settle(self, tp: TP) -> None:
        chunks = self._open[tp]
        while chunks and chunks[0].is_done:
            self._after[tp] = chunks.popleft().last + 1

    def _tell(self, batch: Sequence[Chunk]) -> None:
        if self.in_hand is not None:
            self.in_hand({chunk.tp: self._span(chunk.tp) for chunk in batch})

    def _span(self, tp: TP) -> tuple[int, int] | None:
        taken = [chunk for chunk in self._open.get(tp, ()) if chunk.is_taken and not chunk.is_done]
        return (taken[0].first, taken[-1].last) if taken else None

    def after(self, tp: TP) -> int | None:
        """The offset behind the last of the done chunks that follow each other; None before any is done."""
        return self._after.get(tp)

    def reached(self, tp: TP) -> int | None:
        """The same; before any is done the offset from which the partition is read, None where it is not."""
        return self._after.get(tp, self._began.get(tp))

    def partitions(self) -> list[TP]:
        """Partitions with something to commit."""
        return list(self._after)

    def owed(self, committed: Mapping[Any, int | None]) -> dict[TP, int]:
        """Where something was taken that is not committed: the offset from which that would be read again.

        `committed` is by (topic, partition), whoever's type that is.
        """
        open_ = {tp: span[0] for tp in list(self._open) if (span := self._span(tp))}
        done = {tp: committed.get(tp) or 0 for tp in self.partitions()}
        return open_ | {tp: offset for tp, offset in done.items() if offset < self._after[tp]}

    def forget(self, tps: Iterable[TP]) -> None:
        """These partitions are read anew, or by somebody else: what was delivered of them counts no more."""
        for tp in tps:
            self.take(self._open.pop(tp, ()))
            self._after.pop(tp, None)
            self._next.pop(tp, None)
            self._began.pop(tp, None)
        self.ask()  # Faust may pass over what an agent waits for
