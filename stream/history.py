"""A whole replay: history in, the prequential report, the scores and the decisions out."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from features.events import Label, Transaction
from features.profile import Profile
from features.store import FeatureStore
from models.evaluate import Prequential
from models.snapshot import Snapshot, SnapshotError
from stream.emit import Emitter
from stream.files import Refused
from stream.learn import Learner
from stream.pipeline import NOBODY, Champion, Decision, Pipeline
from stream.replay import Replay
from stream.sequence import SequencePart

SCORES = pa.schema(
    [
        ("event_id", pa.string()),
        ("score", pa.float64()),
        ("outcome", pa.string()),
        ("model_version", pa.string()),
    ]
)

DECIDED_AT = "replayed"
"""The clock field of a replayed decision: when it was made says nothing."""


class History:
    """Replays a profile's history and keeps what the report needs: at most 24 bytes an event."""

    def __init__(
        self,
        profile: Profile,
        store: FeatureStore,
        learner: Learner | None,
        pinned: Champion | None,
        emitter: Emitter,
        network: SequencePart | None = None,
        *,
        scores: Path | None = None,
        decisions: Path | None = None,
    ) -> None:
        """With a learner the champion follows what it learns; `pinned` stays. Files are written where named."""
        card = profile.entities.index(profile.card) if profile.card else None
        self.profile = profile
        self.prequential = Prequential()
        self.replay = Replay(
            Pipeline(store, pinned or NOBODY, network),
            names=profile.features.names,
            card=card,
            learner=learner,
            horizon_us=profile.features.label_horizon_us,
        )
        self._learner = learner
        self._files = ExitStack()
        self._sinks = Sinks(
            self._files.enter_context(ScoresFile(scores)) if scores else None,
            self._files.enter_context(DecisionsFile(decisions, emitter)) if decisions else None,
        )
        self._started = time.perf_counter()
        self._ended: float | None = None

    def __enter__(self) -> Self:
        """Start the clock."""
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the clock and close the files."""
        self._ended = time.perf_counter()
        self._files.__exit__(kind, error, trace)

    def feed(self, batch: Sequence[Transaction | Label | Refused]) -> None:
        """Take in the next items."""
        for judged in self.replay.run(batch, self._sinks):
            self.prequential.add(judged.score, judged.fraud, judged.day, judged.card, judged.alerted)

    def note(self) -> str:
        """For the progress bar: how fast it goes."""
        return f"{self.rate:,.0f} events/s"

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return (self._ended or time.perf_counter()) - self._started

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.replay.decided / max(self.seconds, 1e-9)

    @staticmethod
    def peak_memory() -> int:
        """The most bytes that this process has had in memory."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def snapshot(self) -> Snapshot:
        """What was learned, to pin it later; raises SnapshotError if nothing was."""
        if self._learner is None:
            raise SnapshotError("nothing was learned: the model was pinned, so there is no new one to save")
        return self._learner.snapshot({})


class Sinks:
    """Hands decisions to the files that were asked for."""

    def __init__(self, *sinks: ScoresFile | DecisionsFile | None) -> None:
        """Those that are None are left out."""
        self._sinks = [sink for sink in sinks if sink is not None]

    def write(self, decisions: Sequence[Decision]) -> None:
        """Write one batch to each."""
        for sink in self._sinks:
            sink.write(decisions)


class ScoresFile:
    """A parquet file of scores, written as they come."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self._writer = pq.ParquetWriter(path, SCORES)
        self._held: list[Decision] = []

    def __enter__(self) -> Self:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is held, and the footer."""
        self._flush()
        self._writer.close()

    def write(self, decisions: Sequence[Decision]) -> None:
        """Take one batch."""
        self._held += decisions
        if len(self._held) >= 50_000:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        columns = [
            [made.event.event_id for made in held],
            [made.score for made in held],
            [made.outcome.value for made in held],
            [made.champion.version for made in held],
        ]
        self._writer.write_table(pa.table(columns, schema=SCORES))


class DecisionsFile:
    """A jsonl file of the decision records that the live path would have written."""

    def __init__(self, path: Path, emitter: Emitter) -> None:
        """Write to `path`."""
        self._path = path
        self._emitter = emitter
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Open the file."""
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        if self._file:
            self._file.close()

    def write(self, decisions: Sequence[Decision]) -> None:
        """Write one batch."""
        if self._file:
            lines = self._emitter.lines(decisions, DECIDED_AT)
            self._file.writelines(line + b"\n" for line in lines)
