"""Exact sliding windows over one entity's records, as pure state: records in, a time in, integers out.

A ``Log`` holds an entity's records in the order of (time, tie). Each window keeps a tail pointer and integer
accumulators over the records between its tail and the log's front, so that events in order cost the same whatever
the window's length; a reading of the past looks the records up again. ``apply.lua`` does the same inside Redis.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

NEVER = -(1 << 53)
"""No time: earlier than any that a store takes. Both stores can hold it exactly (Redis' Lua counts in doubles)."""

COMPACT_AT = 64


class Shape(msgspec.Struct, frozen=True):
    """What the logs of one entity are to keep and to answer."""

    windows: tuple[int, ...]  # microseconds
    keep_us: int  # records so much older than the newest leave
    idle_us: int  # a log that nothing was added to for so long, by the store's clock, is forgotten
    records: int  # and at most so many stay
    extremes: bool = False  # answer minimum and maximum too
    fields: tuple[int, ...] = ()  # answer distinct values too: of these, among the values of a record

    @property
    def longest_us(self) -> int:
        """The longest window, 0 where there is none."""
        return max(self.windows, default=0)


class Log:
    """One entity's records. `shape` is passed in, since thousands of logs share it.

    Answers are integers appended to `out`: (count, sum) of each window, then (minimum, maximum) of each, then the
    numbers of distinct values, window by window.
    """

    __slots__ = (
        "amounts", "clock", "counters", "epoch", "floor", "front", "head", "highs", "lows", "sums", "tails", "ties",
        "times", "touched", "values",
    )  # fmt: skip

    def __init__(self, shape: Shape) -> None:
        """Without any record."""
        windows = len(shape.windows)
        self.times = array("q")
        self.ties = array("I")
        self.amounts = array("q")
        self.values = [array("q") for _ in shape.fields]
        self.head = 0  # records before it have left
        self.floor = (NEVER, 0)  # the newest (time, tie) that has left
        self.touched = NEVER  # when a record was added last, by the store's clock
        self.epoch = NEVER  # for the store: in which of its epochs that was
        # The accumulators hold for the clock: windows hold the records from their tail to the front.
        self.clock = NEVER
        self.front = 0  # the first record later than the clock
        self.tails = [0] * windows
        self.sums = [0] * windows
        self.lows = [0] * windows if shape.extremes else []
        self.highs = [0] * windows if shape.extremes else []
        self.counters: list[list[Counter[int]]] = [[Counter() for _ in shape.fields] for _ in shape.windows]

    def insert(self, shape: Shape, time: int, tie: int, amount: int, values: Sequence[int] = ()) -> None:
        """Put a record in its place; `trim` afterwards. Of equal (time, tie) the last inserted is the later one."""
        at = self._place(time, tie)
        self.times.insert(at, time)
        self.ties.insert(at, tie)
        self.amounts.insert(at, amount)
        for column, field in zip(self.values, shape.fields, strict=True):
            column.insert(at, values[field])
        if time > self.clock:
            return
        self.front += 1
        for w, window in enumerate(shape.windows):
            if time > self.clock - window:
                self._enter(w, at, first=self.front - self.tails[w] == 1)
            else:
                self.tails[w] += 1

    def read(self, shape: Shape, now: int, out: list[int]) -> None:
        """Answer the windows (now - window, now], whatever was read before.

        This is what every event costs: each record enters and leaves each window once. The clock follows what
        moved and no further, so that a reading just before this one is cheap too.
        """
        if now < self.clock:
            self.peek(shape, now, out)
            return
        times, amounts, tails, sums = self.times, self.amounts, self.tails, self.sums
        gain, old = 0, self.front
        front, n, clock = old, len(times), self.clock
        while front < n and times[front] <= now:
            gain += amounts[front]
            clock = times[front]
            front += 1
        self.front = front
        counted = self.lows or self.values
        for w, window in enumerate(shape.windows):
            first = tail = tails[w]
            total, limit = sums[w] + gain, now - window
            while tail < front and times[tail] <= limit:
                total -= amounts[tail]
                tail += 1
            if tail > first:
                clock = max(clock, times[tail - 1] + window)
                tails[w] = tail
            sums[w] = total
            out += (front - tail, total)
            if counted and (tail > first or front > old):
                self._moved(w, first, old)
        self.clock = clock
        for pair in zip(self.lows, self.highs, strict=True):
            out += pair
        for counters in self.counters:
            out += map(len, counters)

    def peek(
        self, shape: Shape, now: int, out: list[int], record: tuple[int, Sequence[int]] | None = None
    ) -> None:
        """`read` from the records alone, moving nothing; with `record` (amount, values) as if it were there too."""
        front = bisect_right(self.times, now, self.head)
        spans = [(bisect_right(self.times, now - w, self.head, front), front) for w in shape.windows]
        amounts = [self.amounts[tail:front].tolist() for tail, front in spans]
        if record is not None:
            for each in amounts:
                each.append(record[0])
        for each in amounts:
            out += (len(each), sum(each))
        if shape.extremes:
            for each in amounts:
                out += (min(each, default=0), max(each, default=0))
        for tail, front in spans:
            for column, field in zip(self.values, shape.fields, strict=True):
                seen = set(column[tail:front])
                out.append(len((seen | {record[1][field]} if record is not None else seen) - {0}))

    def last(self, time: int) -> int:
        """The time of the last record not later than `time`; NEVER where there is none, or it is not known."""
        times = self.times
        if times and times[-1] <= time:
            return times[-1]
        at = bisect_right(times, time, self.head)
        if at > self.head:
            return times[at - 1]
        return self.floor[0] if self.floor[0] <= time else NEVER

    def partial(self, shape: Shape, now: int) -> bool:
        """Whether a record that has left would be in a window that ends now."""
        return self.floor[0] > now - shape.longest_us

    def trim(self, shape: Shape) -> bool:
        """Let the records beyond the shape's bounds leave; whether any did."""
        times, head = self.times, self.head
        limit = times[-1] - shape.keep_us
        if times[head] > limit and len(times) - head <= shape.records:
            return False
        until = max(bisect_right(times, limit, head), len(times) - shape.records)
        self.floor = max(self.floor, (times[until - 1], self.ties[until - 1]))
        for w in range(len(shape.windows)):
            self._leave(w, until)
        self.head, self.front = until, max(self.front, until)
        if until >= COMPACT_AT and until * 2 >= len(times):
            self._compact()
        return True

    def _place(self, time: int, tie: int) -> int:
        times = self.times
        if not times or time > times[-1]:
            return len(times)
        last = bisect_right(times, time, self.head)
        return bisect_right(self.ties, tie, bisect_left(times, time, self.head, last), last)

    def _moved(self, w: int, first: int, old: int) -> None:
        """A window's tail went on from `first`, the front from `old`: extremes and distinct values follow."""
        tail, front, amounts = self.tails[w], self.front, self.amounts
        if self.lows:
            gone, come = amounts[first:tail], amounts[old:front]
            if first >= old or (gone and (min(gone) <= self.lows[w] or max(gone) >= self.highs[w])):
                come = amounts[tail:front]
                self.lows[w], self.highs[w] = min(come, default=0), max(come, default=0)
            elif come:
                self.lows[w], self.highs[w] = min(self.lows[w], *come), max(self.highs[w], *come)
        for counter, column in zip(self.counters[w], self.values, strict=True):
            counter.update(filter(None, column[old:front]))
            _discount(counter, column[first:tail])

    def _enter(self, w: int, at: int, *, first: bool) -> None:
        amount = self.amounts[at]
        self.sums[w] += amount
        if self.lows:
            self.lows[w] = amount if first else min(self.lows[w], amount)
            self.highs[w] = amount if first else max(self.highs[w], amount)
        for counter, column in zip(self.counters[w], self.values, strict=True):
            if column[at]:
                counter[column[at]] += 1

    def _leave(self, w: int, until: int) -> None:
        """Move a window's tail on; records that had not been reached by the front never were in it."""
        tail = self.tails[w]
        if until <= tail:
            return
        self.tails[w] = until
        gone = slice(tail, max(tail, min(until, self.front)))
        amounts = self.amounts[gone]
        self.sums[w] -= sum(amounts)
        if self.lows and amounts and (min(amounts) == self.lows[w] or max(amounts) == self.highs[w]):
            left = self.amounts[until : max(until, self.front)]
            self.lows[w], self.highs[w] = min(left, default=0), max(left, default=0)
        for counter, column in zip(self.counters[w], self.values, strict=True):
            _discount(counter, column[gone])

    def _compact(self) -> None:
        head = self.head
        for column in (self.times, self.ties, self.amounts, *self.values):
            del column[:head]
        self.head = 0
        self.front -= head
        self.tails = [tail - head for tail in self.tails]


def _discount(counter: Counter[int], values: Iterable[int]) -> None:
    for value in filter(None, values):
        counter[value] -= 1
        if not counter[value]:
            del counter[value]


class LabelLog(Log):
    """The labels of one entity's events: a record is a label at its arrival, its amount 1 for fraud.

    A label taken back counts until its correction arrives. Answers (labels, frauds) of each window.
    """

    __slots__ = ("taken_back",)

    def __init__(self, shape: Shape) -> None:
        """Without any label."""
        super().__init__(shape)
        self.taken_back: dict[bytes, tuple[int, int, int, int]] = {}  # label -> arrived, tie, fraud, until

    def take_back(self, key: bytes, arrived: int, tie: int, fraud: int, until: int) -> None:
        """From `until` on the label `key` counts no more; of several corrections the earliest holds.

        A label that is not (or no longer) in the log is left alone.
        """
        at = self._place(arrived, tie) - 1
        if at < self.head or (self.times[at], self.ties[at]) != (arrived, tie):
            return
        known = self.taken_back.get(key)
        self.taken_back[key] = (arrived, tie, fraud, min(until, known[3]) if known else until)

    def trim(self, shape: Shape) -> bool:
        """As of every log; corrections of labels that left are forgotten."""
        left = super().trim(shape)
        if left and self.taken_back:
            self.taken_back = {key: each for key, each in self.taken_back.items() if each[:2] > self.floor}
        return left

    def read_labels(self, shape: Shape, now: int, out: list[int]) -> None:
        """`read`, without what had been taken back by then."""
        start = len(out)
        self.read(shape, now, out)
        for arrived, _, fraud, until in self.taken_back.values():
            if until > now or arrived > now:
                continue
            for w, window in enumerate(shape.windows):
                if arrived > now - window:
                    out[start + 2 * w] -= 1
                    out[start + 2 * w + 1] -= fraud
