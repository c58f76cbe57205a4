"""What is left of the records that had to leave a log because of its bound: buckets of neighbours in time.

Which records share a bucket is told by their times and by the newest time in the log alone, not by the order in which
they came. Time is parted into cells of `Shape.unit_us`, these are joined two by two, those again, and so on; a record is
in the largest cell whose end is `FINE` times its span old. So a bucket spans at most a 64th of its age, wherever a
window begins. What is counted and added runs on from bucket to bucket: a window is the difference of two of them.
``script/folds.lua`` does the same inside Redis.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from features.windows import Shape

NEVER, ALWAYS = -(1 << 53), 1 << 53
"""Times before and behind all others."""

FINE = 64
"""A bucket is at least so many times as old as it is long."""

MILLION = 1_000_000
"""Errors are told in millionths, rounded up; so many say that nothing is known."""


def unit_of(windows: tuple[int, ...]) -> int:
    """The span of the smallest cells: the power of two that is at most a 64th of the shortest window.

    >>> unit_of((60_000_000, 3_600_000_000))
    524288
    """
    return 1 << max(0, (min(windows, default=0) // FINE).bit_length() - 1)


def apart_until(shape: Shape, earlier: int, later: int) -> int:
    """From which newest time on two times share a bucket; NEVER: they always do, ALWAYS: not as long as they are kept."""
    span = 1 << (earlier ^ later).bit_length()  # of the smallest cell that holds both
    if span <= shape.unit_us:
        return NEVER
    if span // 2 * FINE > shape.keep_us:
        return ALWAYS
    return (later // span + 1 + FINE) * span


class Folds:
    """The buckets of one log, the oldest first; before them stands what was in buckets that have left."""

    __slots__ = ("apart", "counts", "due", "firsts", "highs", "lasts", "lows", "squares", "sums")

    def __init__(self) -> None:
        """Without any bucket."""
        self.apart = [NEVER]  # from which newest time on a bucket is one with that before it
        self.firsts = [NEVER]
        self.lasts = [NEVER]
        self.counts = [0]  # these run on: up to the end of the bucket, of all that was ever folded
        self.sums = [0]
        self.squares = [0]
        self.lows = [0]
        self.highs = [0]
        self.due = ALWAYS  # at which newest time buckets join or leave

    def __len__(self) -> int:
        return len(self.lasts) - 1

    def add(self, shape: Shape, time: int, amount: int, newest: int) -> None:
        """Count a record in; `settle` afterwards."""
        at = len(self.lasts) if time > self.lasts[-1] else bisect_left(self.lasts, time)
        if at < len(self.lasts) and self.firsts[at] <= time:
            self._join(at, time, amount)
        elif at > 1 and apart_until(shape, self.lasts[at - 1], time) <= newest:
            self._join(at - 1, time, amount)
        elif at < len(self.lasts) and apart_until(shape, time, self.firsts[at]) <= newest:
            self._join(at, time, amount)
        else:
            self._open(shape, at, time, amount)

    def settle(self, shape: Shape, newest: int) -> None:
        """Let buckets that are old enough become one with their neighbours, and those older than all that is kept leave."""
        if newest < self.due:
            return
        self._drop(bisect_right(self.lasts, newest - shape.keep_us) - 1)
        kept = [0, *(at for at in range(1, len(self.lasts)) if at == 1 or self.apart[at] > newest)]
        ends = [*(at - 1 for at in kept[1:]), len(self.lasts) - 1]
        self.lows = [min(self.lows[at : end + 1]) for at, end in zip(kept, ends, strict=True)]
        self.highs = [max(self.highs[at : end + 1]) for at, end in zip(kept, ends, strict=True)]
        self.apart, self.firsts = [self.apart[at] for at in kept], [self.firsts[at] for at in kept]
        self.lasts, self.counts = [self.lasts[at] for at in ends], [self.counts[at] for at in ends]
        self.sums, self.squares = [self.sums[at] for at in ends], [self.squares[at] for at in ends]
        self.due = min([ALWAYS, *(last + shape.keep_us for last in self.lasts[1:2]), *self.apart[2:]])

    def reach(self, shape: Shape, now: int, out: list[int], start: int) -> int:
        """Add to each window that ends `now` the buckets that are in it, to what is told in `out` from `start` on.

        The bucket that a window begins in counts in full: the window is read as if it began with it. One that goes on behind
        `now` does not count. Gives the largest share of a window's count that is uncertain by that, in millionths.
        """
        error, to = 0, bisect_right(self.lasts, now)
        above = self._inside(to, to + 1) if to < len(self.lasts) and self.firsts[to] <= now else 0
        for w, window in enumerate(shape.windows):
            begin = min(bisect_right(self.lasts, now - window), to)
            doubtful = above
            if begin < to:
                self._tell(shape, w, begin, to, out, start)
                doubtful += self._inside(begin, begin + 1) if self.firsts[begin] <= now - window else 0
            if doubtful:
                error = max(error, -(-MILLION * doubtful // (out[start + 2 * w] + above)))
        return error

    def _tell(self, shape: Shape, w: int, begin: int, to: int, out: list[int], start: int) -> None:
        at, windows = start + 2 * w, len(shape.windows)
        low = at + 2 * windows
        if shape.extremes:
            own = out[low : low + 2] if out[at] else []
            out[low] = min([*own[:1], *self.lows[begin:to]])
            out[low + 1] = max([*own[1:], *self.highs[begin:to]])
        out[at] += self._inside(begin, to)
        out[at + 1] += self.sums[to - 1] - self.sums[begin - 1]
        if shape.squares:
            out[start + shape.at_squares + w] += self.squares[to - 1] - self.squares[begin - 1]
        if shape.starts:
            out[start + shape.at_starts + w] = self.firsts[begin]

    def _inside(self, begin: int, to: int) -> int:
        return self.counts[to - 1] - self.counts[begin - 1]

    def _join(self, at: int, time: int, amount: int) -> None:
        self.firsts[at], self.lasts[at] = min(self.firsts[at], time), max(self.lasts[at], time)
        self.lows[at], self.highs[at] = min(self.lows[at], amount), max(self.highs[at], amount)
        self._count(at, amount)

    def _open(self, shape: Shape, at: int, time: int, amount: int) -> None:
        for column in (self.firsts, self.lasts):
            column.insert(at, time)
        for column in (self.lows, self.highs):
            column.insert(at, amount)
        for column in (self.counts, self.sums, self.squares):
            column.insert(at, column[at - 1])
        self._count(at, amount)
        self.apart.insert(at, NEVER)
        for later in range(max(at, 2), min(at + 2, len(self.lasts))):
            self.apart[later] = apart_until(shape, self.lasts[later - 1], self.firsts[later])
            self.due = min(self.due, self.apart[later])
        self.due = min(self.due, self.lasts[1] + shape.keep_us)

    def _count(self, at: int, amount: int) -> None:
        square = amount * amount
        for each in range(at, len(self.lasts)):
            self.counts[each] += 1
            self.sums[each] += amount
            self.squares[each] += square

    def _drop(self, count: int) -> None:
        """Let the oldest buckets leave; what ran up to their end stays as that before all others."""
        for column in (self.counts, self.sums, self.squares):
            del column[:count]
        for column in (self.apart, self.firsts, self.lasts, self.lows, self.highs):
            del column[1 : count + 1]
