"""What is seen of a role at work: plain numbers that it keeps as it goes, for metrics, probes and traces to read.

The path pays a few clock readings and additions a batch, and nothing where nobody asked: UNWATCHED takes everything and
keeps nothing. Nothing here imports a driver; `stream.metrics` and `stream.traces` read what is kept.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, Protocol

from stream.records import Record

STAGE_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds: what a stage takes for a batch, from a small chunk's decoding to a broker's restart."""

LATENCY_BOUNDS = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)
"""Seconds: from a record's append to the end of its handling, from an idle stream's to a backlog's."""


class Reading(NamedTuple):
    """One number, under the name and labels by which `stream.metrics` knows it."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


Source = Callable[[], Iterable[Reading]]


class Distribution:
    """How many times took up to how long: a histogram's numbers, added to by any thread."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the buckets' upper ends in seconds, rising; one without end follows."""
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float, times: int = 1) -> None:
        """So long it took, for so many."""
        at = bisect_left(self.bounds, seconds)
        with self._lock:
            self._counts[at] += times
            self._sum += seconds * times

    def read(self) -> tuple[list[int], float]:
        """How many fell into each bucket, and the sum of all seconds."""
        with self._lock:
            return list(self._counts), self._sum


class Span(NamedTuple):
    """A stage of one batch: when it began and ended, in nanoseconds since 1970."""

    stage: str
    began_ns: int
    ended_ns: int


class Passing(Protocol):
    """One batch on its way through a role."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage, in whichever thread it runs."""
        ...

    def done(self) -> None:
        """What was made of the batch is durable."""
        ...


class Watch(Protocol):
    """Whoever watches a role."""

    def passage(self, *runs: Sequence[Record]) -> Passing:
        """A batch sets out: runs of records, each of one partition and in order."""
        ...


class _Unseen:
    """A batch that nobody watches."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        return _NOTHING

    def done(self) -> None:
        """Nobody counts it."""


class _Unwatched:
    """Where nobody asked."""

    def passage(self, *runs: Sequence[Record]) -> Passing:
        return UNSEEN


_NOTHING = nullcontext()
UNSEEN: Passing = _Unseen()
UNWATCHED: Watch = _Unwatched()


class Passage:
    """A batch that is watched."""

    def __init__(self, watch: RoleWatch, runs: Sequence[Sequence[Record]]) -> None:
        """It sets out now."""
        self.runs = runs
        self.spans: list[Span] = []
        self._watch = watch
        # One reading of the wall's clock and a steady one from there on, so that no span ends before it began.
        self._offset_ns = time.time_ns() - time.perf_counter_ns()
        self.began_ns = self.now_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970, steady for this batch."""
        return self._offset_ns + time.perf_counter_ns()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; one that raises is not counted, the process does not outlive it."""
        began = self.now_ns()
        yield
        self.spans.append(Span(name, began, self.now_ns()))

    def done(self) -> None:
        """Count the batch and its stages."""
        self._watch.passed(self, self.now_ns())


class RoleWatch:
    """What is known of one role in this process."""

    def __init__(self, role: str) -> None:
        """It is starting until `assigned`, and ends once `ending` says so."""
        self.role = role
        self.stages: dict[str, Distribution] = defaultdict(lambda: Distribution(STAGE_BOUNDS))
        self.latency: dict[str, Distribution] = defaultdict(lambda: Distribution(LATENCY_BOUNDS))
        self.servers: dict[str, Distribution] = defaultdict(lambda: Distribution(STAGE_BOUNDS))
        self.records: Counter[str] = Counter()
        self.chunks: Counter[str] = Counter()
        self.rebalances = 0
        self.assigned = False  # the log has told this member which partitions are its own, be it none
        self.standing_by = False  # ready to take over from another, as it is meant to
        self.ending: Callable[[], bool] = lambda: False
        self.sources: list[Source] = []
        self.asked: dict[str, Source] = {}
        self.then: Callable[[Passage, int], None] = lambda passage, ended_ns: None

    def passage(self, *runs: Sequence[Record]) -> Passing:
        """A batch sets out."""
        return Passage(self, runs)

    def passed(self, passage: Passage, ended_ns: int) -> None:
        """A batch is through. All records of a run count as long as the one that waited longest, its first."""
        for records in passage.runs:
            first = records[0]
            self.records[first.topic] += len(records)
            self.chunks[first.topic] += 1
            waited_s = max(0.0, ended_ns / 1e9 - first.timestamp_ms / 1e3)
            self.latency[first.topic].add(waited_s, len(records))
        for stage, began, ended in passage.spans:
            self.stages[stage].add((ended - began) / 1e9)
        self.then(passage, ended_ns)

    def tell(self, source: Source) -> None:
        """Ask this too when somebody looks; it must not wait for anybody."""
        self.sources.append(source)

    def ask(self, server: str, source: Source) -> None:
        """A server that the role cannot do without: `source` asks it, and raises where it does not answer."""
        self.asked[server] = source

    def server_took(self, server: str) -> Callable[[float], None]:
        """Where to tell the seconds that a call to a server took."""
        return self.servers[server].add


def counted(name: str, counts: Mapping[str, int], label: str | None = None) -> Iterator[Reading]:
    """Counts as readings of one name, told apart by a label.

    >>> list(counted("rows", {"labels": 2}, "kind"))
    [Reading(name='rows', value=2, labels={'kind': 'labels'})]
    """
    for key, value in dict(counts).items():  # a copy: the role goes on counting
        yield Reading(name, value, {label: key} if label else {})
