"""What each group of features is worth on the handbook's validation folds, with the online model alone.

usage: python -m tests.benchmarks.groups [--recording FILE.npy] [--only ROW...]

The features of all rows are computed once and recorded; each row then is `weir replay` with a store that answers the recorded
values of its features: the same order, the same labels a week late, the same learner. It ends with the last day that the folds
test. The last row, the profile that ships, gives there what `weir replay FILE --profile handbook` gives. With `--recording` the
values are kept in that file, and taken from it where it is there. On a quiet core it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.events import Event, Label, Transaction
from features.profile import SHIPPED, Profile
from features.profile import load as load_profile
from features.store import Applied, InMemoryFeatureStore, Source, Status
from models.evaluate import HANDBOOK_FIRST_DAYS, WEEK, handbook_folds, mean_of
from stream import bootstrap
from stream.config import load
from stream.decide import DAY_US
from stream.files import EventFile, Refused
from stream.history import History
from stream.replay import BATCH
from tests.benchmarks import handbook
from tests.benchmarks.handbook import say

GROUPS: dict[str, tuple[str, ...]] = {
    "amount and time": ("amount", "hour", "night", "weekend"),
    "+ counts, means, ratios": (
        "count by customer over 1d 7d 30d",
        "count by terminal over 1d 7d 30d",
        "mean amount by customer over 7d 30d",
        "max amount by customer over 7d",
        "max amount by terminal over 30d",
        "ratio of amount by customer over 30d 90d",
        "zscore of amount by customer over 90d",
    ),
    "+ the terminal's risk": ("risk by terminal over 1d 3d 7d 10d 30d", "frauds by terminal over 30d"),
    "+ runs of labels, and their ages": (
        "run of frauds by terminal over 60d",
        "run of legitimate by terminal over 60d",
        "run age by terminal over 60d",
        "since fraud by terminal over 60d",
        "since legitimate by terminal over 60d",
    ),
    "+ cusum, rank, typical, peak": (
        "cusum amount by customer over last 20 halving 7d",
        "rank amount by customer over last 50",
        "typical amount by customer over last 50",
        "peak amount by customer over last 50 halving 7d",
    ),
    "+ gaps, spread, the customer's own labels: all": (
        "since last by customer",
        "since last by terminal",
        "std amount by customer over 30d",
        "decayed count by terminal over last 20 halving 7d",
        "risk by customer over 30d",
    ),
}
"""A row of the table, and what it has beyond the row before it."""

SHIPPED_ROW = "the profile `handbook`"

UNTIL_US = (max(HANDBOOK_FIRST_DAYS) + 3 * WEEK) * DAY_US
"""No fold tests an event from this time on."""

Vectors = NDArray[np.float64]


def main() -> None:
    """Record, then print a row for each group."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recording", type=Path, help="keep the features' values in this file, or read them")
    parser.add_argument(
        "--only", type=int, nargs="*", help="these rows, counted from 1; none: the recording alone"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        bench = Bench(Path(name), options.recording or Path(name) / "recording.npy")
        if not bench.recording.exists():
            bench.record()
        chosen = [
            row for number, row in enumerate(rows(), 1) if options.only is None or number in options.only
        ]
        bench.run(chosen)


def rows() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each row and all that it declares."""
    lines: tuple[str, ...] = ()
    for name, more in GROUPS.items():
        lines += more
        yield name, lines
    yield SHIPPED_ROW, ()


class Recorded(InMemoryFeatureStore):
    """Answers the events in their order with what was recorded of them."""

    def __init__(self, profile: Profile, vectors: Vectors) -> None:
        """`vectors` has a row an event, and a column for each of the profile's features."""
        super().__init__(profile.features)
        self._vectors = vectors
        self._next = 0

    def apply(self, batch: Sequence[Event], source: Source | None = None) -> list[Applied]:
        """Nothing is applied: labels take effect, and events have their vectors."""
        return [
            Applied(Status.FRESH, 0, self._vector() if isinstance(event, Transaction) else ())
            for event in batch
        ]

    def _vector(self) -> tuple[float, ...]:
        self._next += 1
        return tuple(self._vectors[self._next - 1].tolist())


class Bench:
    """The handbook's file, and what was recorded of it."""

    def __init__(self, directory: Path, recording: Path) -> None:
        """Declare the features of all rows."""
        self.directory = directory
        self.recording = recording
        lines = [line for more in GROUPS.values() for line in more]
        self.shipped = load_profile("handbook")
        self.every = self.profile(lines)
        names = [*self.every.features.names, *self.shipped.features.names]
        self.columns = {name: column for column, name in enumerate(dict.fromkeys(names))}

    def profile(self, lines: Sequence[str]) -> Profile:
        """The profile `handbook`, declaring these lines."""
        path = self.directory / "row.toml"
        declared = "declare = [" + ", ".join(f'"{line}"' for line in lines) + "]"
        text = (SHIPPED / "handbook.toml").read_text()
        path.write_text(handbook.DECLARED.sub(lambda _: declared, text))
        return load_profile(str(path))

    def record(self) -> None:
        """Compute the features of all rows and write them down, an event a row."""
        missing = set(self.columns) - set(self.every.features.names)
        if missing:
            raise SystemExit(f"no group declares {', '.join(sorted(missing))}, which the profile has: add it")
        store, told = InMemoryFeatureStore(self.every.features), array("d")
        for batch in self.events():
            for start in range(0, len(batch), BATCH):
                items = batch[start : start + BATCH]
                labels = [item for item in items if isinstance(item, Label)]
                events = [item for item in items if isinstance(item, Transaction)]
                for answer in store.apply([*labels, *events]):
                    told.extend(answer.vector)
        np.save(self.recording, np.frombuffer(told).reshape(-1, len(self.columns)))

    def run(self, chosen: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Replay with the features of each row, all in step, and print what their scores were worth."""
        runs = [(name, self.history(lines)) for name, lines in chosen]
        for batch in self.events():
            for _, history in runs:
                history.feed(batch)
        say("| features | number | AP | CP@100 | AUC ROC |\n|---|---|---|---|---|")
        for name, history in runs:
            mean = mean_of(handbook_folds(history.prequential))
            figures = (mean.average_precision, mean.card_precision, mean.auc_roc)
            number = len(history.profile.features.names)
            say(f"| {name} | {number} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")

    def events(self) -> Iterator[list[Transaction | Label | Refused]]:
        """The file, read anew, up to the end of the last fold."""
        return EventFile(handbook.source(), self.every, until_us=UNTIL_US).events()

    def history(self, lines: Sequence[str]) -> History:
        """What `weir replay` is, with the store that answers what was recorded; no lines: the profile that ships."""
        profile = self.profile(lines) if lines else self.shipped
        columns = [self.columns[name] for name in profile.features.names]
        store = Recorded(profile, np.load(self.recording, mmap_mode="r")[:, columns])
        emitter = bootstrap.emitter(
            profile, bootstrap.sealer(load({"dir": str(self.directory)}, {}, Path("no.toml")))
        )
        return History(profile, store, bootstrap.new_learner(profile), None, emitter)


if __name__ == "__main__":
    main()
