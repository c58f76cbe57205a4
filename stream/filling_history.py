"""Fills a generation of the feature store from a file of past events, their labels as late as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from features.events import Label, Transaction
from features.store import Run, Source
from stream.files import PARCEL, EventFile, Refused
from stream.filling import BATCH, HISTORY, Filler, Told


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
