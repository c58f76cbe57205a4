"""Exact sliding windows over one entity's records, as pure state: records in, a time in, integers out.

A ``Log`` holds an entity's records in the order of (time, tie). Each window keeps a tail pointer and integer
accumulators over the records between its tail and the log's front, so that events in order cost the same whatever
the window's length; a reading of the past looks the records up again. Records beyond the bound are folded (folds.py).
``script/windows.lua`` does the same inside Redis.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from features.folds import MILLION, NEVER, Folds, unit_of

COMPACT_AT = 64

NO_RUN = (-1, 0, NEVER, NEVER, NEVER)
"""The run of no labels; see `LabelLog`."""


class Shape(msgspec.Struct, frozen=True):
    """What the logs of one entity are to keep and to answer."""

    windows: tuple[int, ...]  # microseconds
    keep_us: int  # records so much older than the newest leave
    idle_us: int  # a log that nothing was added to for so long, by the store's clock, is forgotten
    records: int  # and at most so many stay; those beyond are folded
    extremes: bool = False  # answer minimum and maximum too
    squares: bool = False  # answer the sum of the squared amounts too
    starts: bool = False  # answer the time of each window's first record too
    first: bool = False  # answer the time of the first record there ever was too
    recent: int = 0  # answer so many of the last records before the event too
    runs: bool = False  # of labels: answer the run that they end with too
    frauds: bool = False  # of labels: answer how long ago the first fraud that there ever was came too
    place: int = -1  # answer the place of the record before the event too: where it is among the values
    fields: tuple[int, ...] = ()  # answer the counts of values too: of these, among the values of a record
    uncounted: frozenset[tuple[int, int]] = frozenset()  # but zeros of these (window, field), by place
    longest_us: int = 0  # told by the windows: the longest, 0 where there is none
    unit_us: int = 1  # likewise: the span of the smallest cells that records are folded by

    def __post_init__(self) -> None:
        """What every event asks for is found once."""
        msgspec.structs.force_setattr(self, "longest_us", max(self.windows, default=0))
        msgspec.structs.force_setattr(self, "unit_us", unit_of(self.windows))

    @property
    def at_squares(self) -> int:
        """Where an answer tells the sums of squares, one a window."""
        return len(self.windows) * (2 + 2 * self.extremes)

    @property
    def at_starts(self) -> int:
        """Where it tells the times of first records, one a window."""
        return self.at_squares + len(self.windows) * self.squares

    @property
    def at_fields(self) -> int:
        """Where it tells the counts of values, four for each window and field."""
        return self.at_starts + len(self.windows) * self.starts

    @property
    def width(self) -> int:
        """How many integers a reading answers."""
        return self.at_frauds + self.frauds

    @property
    def at_frauds(self) -> int:
        """Where it tells how long ago the first fraud came."""
        return self.at_runs + len(NO_RUN) * self.runs

    @property
    def at_runs(self) -> int:
        """Where it tells the run: its kind and length, and how long ago it began, its last label came, and the one before it."""
        return self.at_fields + 4 * len(self.windows) * len(self.fields)


class Values:
    """How often there is each value of a field; 0 stands for no value, and counts for nothing."""

    __slots__ = ("alike", "counts", "total")

    def __init__(self) -> None:
        """Without any."""
        self.counts: dict[int, int] = {}
        self.total = 0
        self.alike = 0  # the sum of the squares of the counts

    def enter(self, values: Iterable[int]) -> None:
        """Count these in."""
        counts = self.counts
        for value in filter(None, values):
            count = counts.get(value, 0)
            counts[value] = count + 1
            self.total += 1
            self.alike += 2 * count + 1

    def leave(self, values: Iterable[int]) -> None:
        """Count these out."""
        counts = self.counts
        for value in filter(None, values):
            count = counts.pop(value)
            if count > 1:
                counts[value] = count - 1
            self.total -= 1
            self.alike -= 2 * count - 1

    def told(self, value: int) -> tuple[int, int, int, int]:
        """How many there are, how many different ones, how alike they are, and how many are this one."""
        return self.total, len(self.counts), self.alike, self.counts.get(value, 0)


class Uncounted(Values):
    """A field that nobody asks for in this window."""

    __slots__ = ()

    def enter(self, values: Iterable[int]) -> None:
        """Count nothing."""

    def leave(self, values: Iterable[int]) -> None:
        """Count nothing."""


UNCOUNTED = Uncounted()


class Log:
    """One entity's records. `shape` is passed in, since thousands of logs share it.

    Answers are integers appended to `out`: (count, sum) of each window; then, where the shape asks for them, of each window
    (minimum, maximum), the sum of the squares, the time of its first record (NEVER: it is empty); then, window by window
    and field by field, what `Values` tells of the value of the event that is read for.
    """

    __slots__ = (
        "amounts", "clock", "counters", "epoch", "first", "floor", "folds", "front", "head", "highs", "lows", "places",
        "squares", "sums", "tails", "ties", "times", "touched", "values",
    )  # fmt: skip

    def __init__(self, shape: Shape) -> None:
        """Without any record."""
        windows = len(shape.windows)
        self.times = array("q")
        self.ties = array("I")
        self.amounts = array("q")
        self.values = [array("q") for _ in shape.fields]
        self.places = [array("q"), array("q")] if shape.place >= 0 else []
        self.head = 0  # records before it have left
        self.first: int | None = None  # the earliest time that ever came in
        self.floor = (NEVER, 0)  # the newest (time, tie) that has left
        self.folds: Folds | None = None  # of those that left because of the bound
        self.touched = NEVER  # when a record was added last, by the store's clock
        self.epoch = NEVER  # for the store: in which of its epochs that was
        # The accumulators hold for the clock: windows hold the records from their tail to the front.
        self.clock = NEVER
        self.front = 0  # the first record later than the clock
        self.tails = [0] * windows
        self.sums = [0] * windows
        self.lows = [0] * windows if shape.extremes else []
        self.highs = [0] * windows if shape.extremes else []
        self.squares = [0] * windows if shape.squares else []
        self.counters = [[_counter(shape, w, f) for f in range(len(shape.fields))] for w in range(windows)]

    def insert(self, shape: Shape, time: int, tie: int, amount: int, values: Sequence[int] = ()) -> None:
        """Put a record in its place; `trim` afterwards. Of equal (time, tie) the last inserted is the later one."""
        at = self._place(time, tie)
        self.times.insert(at, time)
        self.ties.insert(at, tie)
        self.amounts.insert(at, amount)
        for column, field in zip(self.values, shape.fields, strict=True):
            column.insert(at, values[field])
        for i, column in enumerate(self.places):
            column.insert(at, values[shape.place + i])
        self.first = time if self.first is None else min(self.first, time)
        if time > self.clock:
            return
        self.front += 1
        for w, window in enumerate(shape.windows):
            if time > self.clock - window:
                self._enter(w, at, first=self.front - self.tails[w] == 1)
            else:
                self.tails[w] += 1

    def read(self, shape: Shape, now: int, out: list[int], values: Sequence[int] = ()) -> None:
        """Answer the windows (now - window, now], whatever was read before, for an event with these values.

        This is what every event costs: each record enters and leaves each window once. The clock follows what
        moved and no further, so that a reading just before this one is cheap too.
        """
        if now < self.clock:
            self.peek(shape, now, out, values)
            return
        times, amounts, tails, sums = self.times, self.amounts, self.tails, self.sums
        gain, old = 0, self.front
        front, n, clock = old, len(times), self.clock
        while front < n and times[front] <= now:
            gain += amounts[front]
            clock = times[front]
            front += 1
        self.front = front
        counted = self.lows or self.values or self.squares
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
        out += self.squares
        if shape.starts:
            out += [times[tail] if tail < front else NEVER for tail in tails]
        for counters in self.counters:
            for counter, field in zip(counters, shape.fields, strict=True):
                out += counter.told(values[field])

    def peek(
        self,
        shape: Shape,
        now: int,
        out: list[int],
        values: Sequence[int] = (),
        amount: int | None = None,
    ) -> None:
        """`read` from the records alone, moving nothing; with `amount` as if the event were a record too."""
        front = bisect_right(self.times, now, self.head)
        tails = [bisect_right(self.times, now - window, self.head, front) for window in shape.windows]
        more = [] if amount is None else [amount]
        amounts = [self.amounts[tail:front].tolist() + more for tail in tails]
        for each in amounts:
            out += (len(each), sum(each))
        if shape.extremes:
            for each in amounts:
                out += (min(each, default=0), max(each, default=0))
        if shape.squares:
            out += [sum(map(_squared, each)) for each in amounts]
        if shape.starts:
            alone = NEVER if amount is None else now
            out += [self.times[tail] if tail < front else alone for tail in tails]
        for w, tail in enumerate(tails):
            for f, (column, field) in enumerate(zip(self.values, shape.fields, strict=True)):
                seen = _counter(shape, w, f)
                seen.enter(column[tail:front])
                seen.enter([values[field]] if more else [])
                out += seen.told(values[field])

    def last(self, time: int) -> int:
        """The time of the last record not later than `time`; NEVER where there is none, or it is not known."""
        times = self.times
        if times and times[-1] <= time:
            return times[-1]
        at = bisect_right(times, time, self.head)
        if at > self.head:
            return times[at - 1]
        return self.floor[0] if self.floor[0] <= time else NEVER

    def began(self, time: int) -> int:
        """The time of the first record there ever was; NEVER where that is later than `time`."""
        return self.first if self.first is not None and self.first <= time else NEVER

    def place(self, time: int) -> list[int]:
        """The place of the last record not later than `time`; NEVER twice where there is none, or it has none."""
        at = bisect_right(self.times, time, self.head) - 1
        return [column[at] if at >= self.head else NEVER for column in self.places]

    def recent(self, time: int, count: int) -> list[int]:
        """The last `count` records up to `time`, newest first: the age and amount of each, (NEVER, 0) behind the oldest."""
        until = bisect_right(self.times, time, self.head)
        first = max(self.head, until - count)
        out = [NEVER, 0] * count
        taken = 2 * (until - first)
        out[:taken:2] = [time - each for each in reversed(self.times[first:until])]
        out[1:taken:2] = reversed(self.amounts[first:until])
        return out

    def beyond(self, shape: Shape, now: int, out: list[int], start: int) -> int | None:
        """Add what has left to the answer that stands in `out` from `start` on; None: nothing would be in a window.

        Gives the largest share of a window's count that is uncertain by that, in millionths: all of it where what would be
        in a window left because of its age.
        """
        longest_us = shape.longest_us
        if self.floor[0] <= now - longest_us:
            return None
        error = self.folds.reach(shape, now, out, start) if self.folds else 0
        return MILLION if now - longest_us < self.times[-1] - shape.keep_us else error

    def trim(self, shape: Shape) -> bool:
        """Let the records beyond the shape's bounds leave; whether any did."""
        times, head, newest = self.times, self.head, self.times[-1]
        limit = newest - shape.keep_us
        left = times[head] <= limit or len(times) - head > shape.records
        if left:
            aged = head
            while times[aged] <= limit:  # the newest is not
                aged += 1
            until = max(aged, len(times) - shape.records)
            if until > aged and shape.windows:
                self._fold(shape, aged, until, newest)
            self._let_go(shape, until)
        if self.folds is not None and newest >= self.folds.due:
            self.folds.settle(shape, newest)
            self.folds = self.folds if len(self.folds) else None
        return left

    def _fold(self, shape: Shape, begin: int, end: int, newest: int) -> None:
        self.folds = self.folds or Folds()
        for at in range(begin, end):
            if self._counts(at):
                self.folds.add(shape, self.times[at], self.amounts[at], newest)

    def _counts(self, at: int) -> bool:
        """Whether a record that leaves counts on."""
        return True

    def _let_go(self, shape: Shape, until: int) -> None:
        self.floor = max(self.floor, (self.times[until - 1], self.ties[until - 1]))
        for w, tail in enumerate(self.tails):
            if tail < until:
                self._leave(w, until)
        self.head, self.front = until, max(self.front, until)
        if until >= COMPACT_AT and until * 2 >= len(self.times):
            self._compact()

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
        if self.squares:
            self.squares[w] += sum(map(_squared, amounts[old:front])) - sum(
                map(_squared, amounts[first:tail])
            )
        for counter, column in zip(self.counters[w], self.values, strict=True):
            counter.enter(column[old:front])
            counter.leave(column[first:tail])

    def _enter(self, w: int, at: int, *, first: bool) -> None:
        amount = self.amounts[at]
        self.sums[w] += amount
        if self.lows:
            self.lows[w] = amount if first else min(self.lows[w], amount)
            self.highs[w] = amount if first else max(self.highs[w], amount)
        if self.squares:
            self.squares[w] += amount * amount
        for counter, column in zip(self.counters[w], self.values, strict=True):
            counter.enter(column[at : at + 1])

    def _leave(self, w: int, until: int) -> None:
        """Move a window's tail on; records that had not been reached by the front never were in it."""
        tail = self.tails[w]
        self.tails[w] = until
        gone = slice(tail, max(tail, min(until, self.front)))
        amounts = self.amounts[gone]
        self.sums[w] -= sum(amounts)
        if self.lows and amounts and (min(amounts) == self.lows[w] or max(amounts) == self.highs[w]):
            left = self.amounts[until : max(until, self.front)]
            self.lows[w], self.highs[w] = min(left, default=0), max(left, default=0)
        if self.squares:
            self.squares[w] -= sum(map(_squared, amounts))
        for counter, column in zip(self.counters[w], self.values, strict=True):
            counter.leave(column[gone])

    def _compact(self) -> None:
        head = self.head
        for column in (self.times, self.ties, self.amounts, *self.values, *self.places):
            del column[:head]
        self.head = 0
        self.front -= head
        self.tails = [tail - head for tail in self.tails]


def _counter(shape: Shape, w: int, f: int) -> Values:
    return UNCOUNTED if (w, f) in shape.uncounted else Values()


def _squared(amount: int) -> int:
    return amount * amount
