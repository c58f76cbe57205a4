"""Fills a generation of the feature store: records are applied as when they were decided, and nothing is decided.

What is filled may be what a worker decides on at the same moment: the store keeps how far it holds each partition, and what it
knows counts no second time. So it may be ended at any point, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from typing import Self

from features.store import Batch, FeatureStore, Run, Source
from stream.codec import Codec
from stream.records import TP, LogReader, Record
from stream.runs import Taken, run_of

BATCH = 4_000
"""Records of one round trip."""

HISTORY = "history:"
"""What the names of files begin with where the store keeps how far it holds them; a topic's name has no colon."""

Open = Callable[[Mapping[TP, int]], LogReader]
"""Gives a reader of the log that stands at these offsets."""

Told = Callable[[int], None]
"""Hears of so many records more."""


class Filler:
    """Applies batches to a store, each while the next one is decoded and packed."""

    def __init__(self, store: FeatureStore) -> None:
        """Fill `store`."""
        self._store = store
        self._applying = ThreadPoolExecutor(1, "fill")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread; what it does comes to its end."""
        self._applying.shutdown()

    def apply(self, runs: Sequence[Run]) -> None:
        """Apply these after those before; returns when the next ones may come. Raises what those before raised."""
        batch = self._store.batch(runs)
        self.rest()
        self._pending = self._applying.submit(_applied, batch)

    def rest(self) -> None:
        """Wait until all is applied; raises what the store raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def _applied(batch: Batch) -> None:
    batch.apply()


def fill_from_log(
    filler: Filler,
    codec: Codec,
    open_log: Open,
    starts: Mapping[TP, int],
    held: Mapping[TP, int],
    until: Mapping[TP, int],
    told: Told = lambda count: None,
    *,
    beyond: bool = False,
) -> None:
    """Apply each partition's records from `starts` up to `until`; of what lies before the store holds all up to `held`.

    With `beyond` what is read behind that is applied too: ends that were asked for one after the other are of no one
    moment, and to stop at each would bring the records between them out of the log's order. Where the log begins behind
    `held` its records follow all the same: whoever calls knows that nothing needs the gap.
    """
    at = {tp: min(start, held.get(tp, 0)) for tp, start in starts.items()}
    with closing(open_log(starts)) as reader:
        while any(reader.positions[tp] < end for tp, end in until.items()):
            records = reader.fetch(BATCH)
            wanted = [
                each for each in records if beyond or each.offset < until[TP(each.topic, each.partition)]
            ]
            filler.apply(list(_runs(codec, wanted, at)))
            told(len(wanted))
    filler.rest()


def _runs(codec: Codec, records: Sequence[Record], at: dict[TP, int]) -> Iterator[Run]:
    """The records in their order, as the score role gives them to the store; moves on `at`."""
    for tp, group in groupby(records, lambda record: TP(record.topic, record.partition)):
        some = list(group)
        before, at[tp] = at[tp], some[-1].offset + 1
        yield run_of(codec.decode_many(some), Taken(some, Source(*tp, before, at[tp])))


def held_of(store: FeatureStore, tps: Iterable[TP]) -> dict[TP, int]:
    """How far a store holds each of these partitions."""
    positions = store.positions()
    return {tp: positions.get((tp.topic, tp.partition), 0) for tp in tps}
