"""Fills a generation of the feature store: records are applied as when they were decided, and nothing is decided.

What is filled may be what a worker decides on at the same moment: the store keeps how far it holds each partition, and what it
knows counts no second time. So it may be ended at any point, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Self

from features.events import Label, Transaction
from features.store import Batch, FeatureStore, Run, Source
from stream.codec import Codec
from stream.files import PARCEL, EventFile, Refused
from stream.records import TP, LogReader, Record
from stream.score import Taken, run_of

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
) -> None:
    """Apply each partition's records from `starts` up to `until`; of what lies before the store holds all up to `held`.

    Where the log begins behind `held` its records follow all the same: whoever calls knows that nothing needs the gap.
    """
    at = {tp: min(start, held.get(tp, 0)) for tp, start in starts.items()}
    with closing(open_log(starts)) as reader:
        while any(reader.positions[tp] < end for tp, end in until.items()):
            records = reader.fetch(BATCH)
            wanted = [each for each in records if each.offset < until[TP(each.topic, each.partition)]]
            filler.apply(list(_runs(codec, wanted, at)))
            told(len(wanted))
    filler.rest()


def _runs(codec: Codec, records: Sequence[Record], at: dict[TP, int]) -> Iterator[Run]:
    """The records in their order, as the score role gives them to the store; moves on `at`."""
    for tp, group in groupby(records, lambda record: TP(record.topic, record.partition)):
        some = list(group)
        before, at[tp] = at[tp], some[-1].offset + 1
        yield run_of(codec.decode_many(some), Taken(some, Source(*tp, before, at[tp])))


def fill_from_file(
    filler: Filler, file: EventFile, name: str, held: int, told: Told = lambda count: None
) -> None:
    """Apply a file's events and labels, in the order in which they arrived, from the `held`th of them on.

    `told` hears how many rows were read so far.
    """
    at, runs = 0, list[Run]()
    for some in _parcels(file.events()):
        ends = at + len(some)
        if ends > held:
            runs.append(Run(some, Source(HISTORY + name, 0, at, ends, range(at, ends))))
        at = ends
        if len(runs) >= BATCH // PARCEL:
            filler.apply(runs)
            runs = []
            told(file.done)
    filler.apply(runs)
    filler.rest()
    told(file.done)


def _parcels(
    batches: Iterable[Sequence[Transaction | Label | Refused]],
) -> Iterator[list[Transaction | Label]]:
    """The pieces that `weir send` and a replay make of a history, so that each event meets the same labels."""
    for batch in batches:
        for start in range(0, len(batch), PARCEL):
            some = batch[start : start + PARCEL]
            labels = [each for each in some if isinstance(each, Label)]
            yield [*labels, *[each for each in some if isinstance(each, Transaction)]]


def name_of(path: Path, *settings: object) -> str:
    """What stands for a file's content, read with these settings: how far it was applied is kept under this name."""
    digest = blake2b(repr(settings).encode(), digest_size=8)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def held_of(store: FeatureStore, tps: Iterable[TP]) -> dict[TP, int]:
    """How far a store holds each of these partitions."""
    positions = store.positions()
    return {tp: positions.get((tp.topic, tp.partition), 0) for tp in tps}
