"""The labels of one entity's events, in the order of their arrival: how many, how many frauds, and what they end with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence

from features.folds import ALWAYS, NEVER
from features.windows import NO_RUN, Log, Shape

Run = tuple[int, int, int, int, int]
"""What labels end with: kind (1 frauds, 0 legitimate, -1 none), length, first and last time, and the last time before it."""


class LabelLog(Log):
    """The labels of one entity's events: a record is a label at its arrival, its amount 1 for fraud.

    A label taken back counts until its correction arrives; one that was folded is taken back no more. Answers (labels,
    frauds) of each window, and where the shape asks for it the run that the labels end with, its times as ages (NEVER: there is
    none): an event that comes again later gets the answer of its first time.
    """

    __slots__ = ("first_fraud", "left_fraud", "run", "taken_back")

    def __init__(self, shape: Shape) -> None:
        """Without any label."""
        super().__init__(shape)
        self.taken_back: dict[bytes, tuple[int, int, int, int]] = {}  # label -> arrived, tie, fraud, until
        self.run: Run | None = NO_RUN  # of the labels up to the front; None: to be looked up
        self.first_fraud: int | None = ALWAYS  # the earliest, if none is taken back; None: to be looked up
        self.left_fraud = ALWAYS  # the earliest that has left

    def insert(self, shape: Shape, time: int, tie: int, amount: int, values: Sequence[int] = ()) -> None:
        """As of every log."""
        front = self.front
        if amount and self.first_fraud is not None:
            self.first_fraud = min(self.first_fraud, time)
        super().insert(shape, time, tie, amount, values)
        if self.front > front:
            self.run = _joined(self.run, time, int(amount)) if self._place(time, tie) == self.front else None

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
        if left and self.run is not None:
            self.run = self._cut(self.run)
        if left and self.taken_back:
            self.taken_back = {key: each for key, each in self.taken_back.items() if each[:2] > self.floor}
        return left

    def read_labels(self, shape: Shape, now: int, out: list[int]) -> None:
        """`read`, without what had been taken back by then."""
        start, front = len(out), self.front
        self.read(shape, now, out)
        if shape.runs:
            for at in range(front, self.front):
                self.run = _joined(self.run, self.times[at], self.amounts[at])
            kind, length, *times = self._run(now)
            out += (kind, length, *[now - time if time != NEVER else NEVER for time in times])
        if shape.frauds:
            first = self._first_fraud(now)
            out.append(now - first if first <= now else NEVER)
        for arrived, _, fraud, until in self.taken_back.values():
            if until > now or arrived > now:
                continue
            for w, window in enumerate(shape.windows):
                if arrived > now - window:
                    out[start + 2 * w] -= 1
                    out[start + 2 * w + 1] -= fraud

    def _first_fraud(self, now: int) -> int:
        """The earliest that counts, now or later."""
        if self.left_fraud <= now:
            return self.left_fraud
        if self.taken_back:
            return self._look_up_fraud({each[:2] for each in self.taken_back.values() if each[3] <= now})
        if self.first_fraud is None:
            self.first_fraud = min(self.left_fraud, self._look_up_fraud(()))
        return self.first_fraud

    def _look_up_fraud(self, gone: Collection[tuple[int, int]]) -> int:
        for at in range(self.head, len(self.times)):
            if self.amounts[at] and (self.times[at], self.ties[at]) not in gone:
                return self.times[at]
        return ALWAYS

    def _let_go(self, shape: Shape, until: int) -> None:
        for at in range(self.head, until) if shape.frauds else ():
            if self.amounts[at] and self._counts(at):
                self.left_fraud = min(self.left_fraud, self.times[at])
            elif self.amounts[at]:
                self.first_fraud = None
        super()._let_go(shape, until)

    def _counts(self, at: int) -> bool:
        place = (self.times[at], self.ties[at])
        return all(each[:2] != place for each in self.taken_back.values())

    def _cut(self, run: Run) -> Run | None:
        """A run without what has left."""
        kind, length, first, last, before = run
        floor, left = self.floor[0], self.front - self.head
        if not left:
            return NO_RUN
        if before == floor:
            return None  # there may be another label of this time
        if first <= floor:
            length, first = min(length, left), self.times[self.head]
        return kind, length, first, last, before if before > floor else NEVER

    def _run(self, now: int) -> Run:
        """The run that the labels up to `now` end with."""
        if now < self.clock or self.taken_back:
            return self._look_up_run(now, {each[:2] for each in self.taken_back.values() if each[3] <= now})
        if self.run is None:
            self.run = self._look_up_run(now, ())
        return self.run

    def _look_up_run(self, now: int, gone: Collection[tuple[int, int]]) -> Run:
        run: Run = NO_RUN
        for at in range(bisect_right(self.times, now, self.head) - 1, self.head - 1, -1):
            time, kind = self.times[at], self.amounts[at]
            if (time, self.ties[at]) in gone:
                continue
            if run is NO_RUN:
                run = (kind, 1, time, time, NEVER)
            elif kind == run[0]:
                run = (kind, run[1] + 1, time, run[3], NEVER)
            else:
                return (*run[:4], time)
        return run


def _joined(run: Run | None, time: int, kind: int) -> Run | None:
    """A run with a label that is later than all in it."""
    if run is None:
        return None
    before, length, first, last, earlier = run
    return (kind, length + 1, first, time, earlier) if kind == before else (kind, 1, time, time, last)
