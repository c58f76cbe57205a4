"""Features of a history: our store in memory, as `weir replay` uses it, beside pandas' rolling windows, in one run.

usage: python -m tests.benchmarks.offline [--events N]

The thirty counts, sums and means of three entities of `features.py`. The Fraud Detection Handbook's way: `rolling(window)` over
the rows of a value, one value after the other, sums, counts, and means of them. The same in one `groupby(entity).rolling(window)`
for each. Ours: event by event, through the code that runs live. Every side sees an event's own row, and windows are
(t - window, t]; that they agree is checked. pandas reads a finished table, and has no labels, late events or repeated ones; it
starts anew for the next day.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from features.catalogue import Kind
from features.events import Transaction
from features.store import InMemoryFeatureStore
from tests.benchmarks.features import PEOPLE, SUMS
from tests.benchmarks.meters import load, say, table
from tests.benchmarks.payments import ENTITIES, Population, features_of

FEATURES = features_of(SUMS)
BATCH = 500
Sums = Callable[[pd.DataFrame, str, pd.Timedelta], tuple[np.ndarray, np.ndarray]]
CLOSE = 1e-9  # of sums of floats that come and go


def main() -> None:
    """Print the two, and how far apart they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=100_000)
    events = Population(**PEOPLE).payments(parser.parse_args().events)
    frame = framed(events)
    ways = {
        "store in memory, live code": lambda: replayed(events),
        f"pandas {pd.__version__}, a value at a time (the book)": lambda: rolled(frame, a_value_at_a_time),
        f"pandas {pd.__version__}, one groupby": lambda: rolled(frame, at_once),
    }
    say(f"{len(events):,} events, {len(FEATURES.features)} windowed features of three entities; {load()}")
    rows, found = [], []
    for what, way in ways.items():
        began = time.process_time()
        found.append(way())
        each = (time.process_time() - began) / len(events)
        rows.append((what, f"{each * 1e6:.1f}", f"{1 / each:,.0f}", *agreeing(found[0], found[-1])))
    table(("", "CPU us an event", "events/s", "as ours to 1e-9", "to the bit"), rows)


def agreeing(ours: np.ndarray, theirs: np.ndarray) -> tuple[str, str]:
    """The share of values that agree nearly, and to the bit."""
    return f"{np.isclose(ours, theirs, rtol=CLOSE, atol=0).mean():.2%}", f"{(ours == theirs).mean():.2%}"


def replayed(events: Sequence[Transaction]) -> np.ndarray:
    """A row of features for each event, from the store in memory."""
    store = InMemoryFeatureStore(FEATURES)
    batches = (events[at : at + BATCH] for at in range(0, len(events), BATCH))
    return np.array([each.vector for batch in batches for each in store.apply(batch)])


def framed(events: Sequence[Transaction]) -> pd.DataFrame:
    """The history as a frame, sorted by time."""
    columns = {name: [each.entities[at] for each in events] for at, name in enumerate(ENTITIES)}
    times = pd.to_datetime([each.time_us for each in events], unit="us")
    return pd.DataFrame({"amount": [each.amount / 100 for each in events], **columns}, index=times)


def rolled(frame: pd.DataFrame, sums: Sums) -> np.ndarray:
    """The features from sums and counts of each entity and window."""
    found: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
    for entity, us in {(each.entity, each.window_us) for each in FEATURES.features}:
        found[entity, us] = sums(frame, entity, pd.Timedelta(us, unit="us"))
    columns = []
    for each in FEATURES.features:
        count, total = found[each.entity, each.window_us]
        columns.append({Kind.COUNT: count, Kind.SUM: total}.get(each.kind, total / count))
    return np.column_stack(columns)


def a_value_at_a_time(
    frame: pd.DataFrame, entity: str, window: pd.Timedelta
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and sums of each row's window."""
    count, total = np.empty(len(frame)), np.empty(len(frame))
    for places in frame.groupby(entity).indices.values():
        rolling = frame["amount"].iloc[places].rolling(window)
        count[places], total[places] = rolling.count().to_numpy(), rolling.sum().to_numpy()
    return count, total


def at_once(frame: pd.DataFrame, entity: str, window: pd.Timedelta) -> tuple[np.ndarray, np.ndarray]:
    """The same for all values together."""
    order = np.argsort(frame[entity].to_numpy(), kind="stable")
    rolling = frame.groupby(entity)["amount"].rolling(window)
    count, total = np.empty(len(frame)), np.empty(len(frame))
    count[order], total[order] = rolling.count().to_numpy(), rolling.sum().to_numpy()
    return count, total


if __name__ == "__main__":
    main()
