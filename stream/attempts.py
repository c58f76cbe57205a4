"""Which records workers died of: one that ends whoever takes it in hand is set aside, so that it ends no worker after it.

What a worker has in hand stands in a file of its own: some bytes a chunk, written, not synced, for they are to outlive
the process, not the machine. Whoever starts next finds there what its forerunner died with. Of records that were in hand
at a death the next worker takes only a few at a time, then one at a time; what is left alone in the end is condemned:
it becomes a dead letter. A death that the surroundings caused (stream.blame) tells nothing of the records.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from stream.blame import is_the_records, told
from stream.records import TP, Record

logger = logging.getLogger(__name__)

PARTS = 32
"""Suspected records are worked off in so many pieces, at most: a death narrows them down to one."""

SILENT = 2
"""Deaths without an exception of ours (a kill, a crash of the interpreter) that count as one: anybody may kill."""


InHand = Mapping[TP, tuple[int, int] | None]
"""By partition: the first and the last offset; None: nothing of it."""


class Hand(msgspec.Struct):
    """What a worker had in hand when it last said so, and of what it died, if it could tell."""

    places: list[tuple[str, int, int, int]] = []  # topic, partition, first and last offset
    why: str = ""

    @property
    def alone(self) -> bool:
        """Whether this is one record."""
        return len(self.places) == 1 and self.places[0][2] == self.places[0][3]


class Suspect(msgspec.Struct):
    """Records of one partition, at least one of which ended workers."""

    topic: str
    partition: int
    first: int
    last: int
    deaths: int  # so many with these among what was in hand
    alone: int = 0  # with this one and no other
    why: str = ""  # of what the last one died; "" if it could not tell

    @property
    def enough(self) -> int:
        """How many deaths prove something."""
        return 1 if self.why else SILENT

    @property
    def condemned(self) -> str:
        """The reason to set the record aside; "" while it may be tried again."""
        if self.first != self.last or self.alone < self.enough or self.deaths <= self.enough:
            return ""
        how = self.why or "a kill, or a crash of the process"
        return (
            f"{self.deaths} workers ended while they had this record in hand, the last with nothing else; of {how}. "
            "Mend that, then replay it"
        )

    def meets(self, first: int, last: int) -> bool:
        """Whether some of these offsets are among its own."""
        return self.first <= last and first <= self.last

    def narrow(self, first: int, last: int, alone: bool, why: str) -> None:
        """Another death, with these offsets in hand; `alone`: this is one record, and there was nothing else."""
        self.first, self.last = max(self.first, first), min(self.last, last)
        self.deaths += 1
        self.alone += alone
        self.why = why


class Piece(msgspec.Struct, frozen=True):
    """Records to be taken in hand together."""

    records: Sequence[Record]
    suspected: bool = False  # nothing else is to be in hand meanwhile
    condemned: str = ""  # not to be worked off, and why


class Attempts:
    """What the workers of a group died of, in a directory that they share."""

    def __init__(self, directory: Path, group: str) -> None:
        """Take a file of our own, and learn what those who left theirs died with."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._group = directory, group
        self._file = self._take()
        self._hand: dict[TP, tuple[int, int]] = {}
        self._suspects = self._read()

    # --- in hand

    def has(self, changed: InHand) -> None:
        """This worker has this in hand of these partitions, and no more."""
        for tp, span in changed.items():
            if span is None:
                self._hand.pop(tp, None)
            else:
                self._hand[tp] = span
        self._write(Hand([(*tp, *offsets) for tp, offsets in self._hand.items()]))

    def died(self, error: BaseException) -> None:
        """This worker ends by an error: of the records in hand, or of something else."""
        if is_the_records(error):
            self._write(Hand([(*tp, *offsets) for tp, offsets in self._hand.items()], told(error)))
        else:
            self.ended()

    def ended(self) -> None:
        """This worker ends, and no record is to blame."""
        self._hand.clear()
        self._write(Hand())

    def _write(self, hand: Hand) -> None:
        os.pwrite(self._file.fileno(), msgspec.json.encode(hand) + b"\n", 0)

    # --- suspects

    def begin(self, starts: Mapping[TP, int]) -> None:
        """Partitions are read from these offsets on: learn what others died of there; what lies before is done with."""
        with self._locked():
            kept = [each for each in self._read() if each.last >= starts.get(_place(each), 0)]
            self._keep(kept)
        self._suspects = kept

    def pieces(self, tp: TP, records: Sequence[Record]) -> Iterator[Piece]:
        """A run of a partition's records as it is to be taken in hand."""
        for each in sorted(self._suspects, key=lambda suspect: suspect.first):
            if _place(each) != tp or each.deaths < each.enough or not records:
                continue
            before = [record for record in records if record.offset < each.first]
            inside = [record for record in records if each.first <= record.offset <= each.last]
            if inside:
                if before:
                    yield Piece(before)
                yield from _cut(each, inside)
                records = records[len(before) + len(inside) :]
        if records:
            yield Piece(records)

    # --- on the disk

    def _take(self) -> IO[bytes]:
        """Lock the first file that nobody holds, after what lies in all of those is read."""
        ours: IO[bytes] | None = None
        with self._locked():
            suspects = self._read()
            for path in self._files():
                if ours is not None and not path.exists():
                    break
                file = path.open("r+b" if path.exists() else "w+b", buffering=0)
                if not _free(file):
                    file.close()
                    continue
                self._learn(suspects, file)
                file.truncate(0)
                if ours is None:
                    ours = file
                else:
                    file.close()
            self._keep(suspects)
        assert ours is not None  # one of the files is new
        return ours

    def _files(self) -> Iterator[Path]:
        number = 0
        while (path := self._directory / f"{self._group}-{number}.hand").exists():
            yield path
            number += 1
        yield path

    def _learn(self, suspects: list[Suspect], file: IO[bytes]) -> None:
        line = file.read().partition(b"\n")[0]
        hand = msgspec.json.decode(line, type=Hand) if line else Hand()
        for topic, partition, first, last in hand.places:
            met = [
                each for each in suspects if _place(each) == (topic, partition) and each.meets(first, last)
            ]
            for each in met:
                each.narrow(first, last, hand.alone, hand.why)
            if not met:
                suspects.append(Suspect(topic, partition, first, last, 1, int(hand.alone), hand.why))
            logger.warning(
                "%s[%d]: a worker ended with the records %d to %d in hand (%s)",
                *(topic, partition, first, last, hand.why or "it could not say why"),
            )

    @property
    def _book(self) -> Path:
        return self._directory / f"{self._group}.suspects"

    def _read(self) -> list[Suspect]:
        if not self._book.exists():
            return []
        return msgspec.json.decode(self._book.read_bytes(), type=list[Suspect])

    def _keep(self, suspects: Sequence[Suspect]) -> None:
        new = self._book.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(suspects))
        new.replace(self._book)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / f"{self._group}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _cut(suspect: Suspect, records: Sequence[Record]) -> Iterator[Piece]:
    if suspect.condemned:
        logger.error(
            "%s[%d]@%d is set aside as a dead letter: %s",
            *(suspect.topic, suspect.partition, suspect.first, suspect.condemned),
        )
        yield Piece(records, True, suspect.condemned)
        return
    step = -(-(suspect.last - suspect.first + 1) // PARTS)
    for start in range(0, len(records), step):
        yield Piece(records[start : start + step], True)


def _place(suspect: Suspect) -> TP:
    return TP(suspect.topic, suspect.partition)


def _free(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
