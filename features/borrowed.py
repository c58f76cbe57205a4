"""A store of other features, answering for ours: what it knows stands in our order, what it does not know is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from features.by_batch import ByBatch
from features.carried import Kept
from features.catalogue import FeatureSet
from features.compute import Plan
from features.events import Event, Transaction
from features.store import Applied, Batch, FeatureStore, Run, Source, Status


class Borrowed(ByBatch):
    """Answers with the features of `wanted` out of a store of the features of `held` (features.store.FeatureStore).

    A feature is known there if it measures the same under the same name. Features of an event alone are always known.
    Both sets are of the same entities: the events that go in are the same.
    """

    def __init__(self, store: FeatureStore, held: FeatureSet, wanted: FeatureSet) -> None:
        """Nothing is asked of the store yet."""
        self._store = store
        self._alone = Plan(_alone(wanted))
        self._places = _places(held, wanted)
        self.unknown = unknown_to(held, wanted)

    def batch(self, runs: Sequence[Run]) -> Batch:
        """Runs for the store that is asked."""
        return _Borrowing(self, self._store.batch(runs), [event for run in runs for event in run.events])

    def positions(self) -> dict[tuple[str, int], int]:
        """How far the store that is asked holds each partition."""
        return self._store.positions()

    def forget(self, entity: str, value: str) -> bool:
        """Drop what is known of one value of an entity; whether anything was."""
        return self._store.forget(entity, value)

    @property
    def refused(self) -> int:
        """How many states the store that is asked did not write."""
        return self._store.refused

    def carry(self, entity: str, network: str | None) -> None:
        """What answers tell from the next batch on."""
        self._store.carry(entity, network)

    def keep(self, kept: Sequence[Kept], through: Sequence[Source] = ()) -> None:
        """Write these back before the next batch."""
        self._store.keep(kept, through)

    def written(self, network: str) -> dict[tuple[str, int], int]:
        """Up to where a network has seen the log."""
        return self._store.written(network)

    def flush(self) -> None:
        """Write back what waits."""
        self._store.flush()

    def fill(self, network: str, states: Mapping[str, bytes], position: Mapping[str, int]) -> None:
        """Write states up to a position."""
        self._store.fill(network, states, position)

    def filled(self, network: str) -> dict[str, int] | None:
        """The position up to which they are filled."""
        return self._store.filled(network)

    def states(self, network: str, values: Sequence[str]) -> list[bytes]:
        """The states of these values."""
        return self._store.states(network, values)

    def adopt(self, network: str) -> None:
        """What was applied so far it has seen."""
        self._store.adopt(network)

    def adopted(self, network: str) -> bool:
        """Whether it was adopted."""
        return self._store.adopted(network)

    def drop_states(self, network: str) -> None:
        """Forget a network."""
        self._store.drop_states(network)

    def close(self) -> None:
        """Give back connections."""
        self._store.close()

    def answer(self, event: Event, applied: Applied) -> Applied:
        """What it said of an event, in our order."""
        if not isinstance(event, Transaction) or applied.status is Status.CONFLICT:
            return applied
        found = (*applied.vector, *self._alone.vector(event, []))
        vector = tuple([math.nan if place is None else found[place] for place in self._places])
        return msgspec.structs.replace(applied, vector=vector)


def unknown_to(held: FeatureSet, wanted: FeatureSet) -> tuple[str, ...]:
    """The features of `wanted` that a store of the features of `held` does not know."""
    places = zip(wanted.names, _places(held, wanted), strict=True)
    return tuple([name for name, place in places if place is None])


def _alone(features: FeatureSet) -> FeatureSet:
    """Its features of an event alone."""
    alone = [feature for feature in features.features if not feature.entity]
    return msgspec.structs.replace(features, features=tuple(alone))


def _places(held: FeatureSet, wanted: FeatureSet) -> list[int | None]:
    """Of each feature of `wanted`: where it stands among those of `held` with the ones of the event alone behind them."""
    known = {pair: place for place, pair in enumerate(held.hashes.items())}
    alone = {name: len(known) + place for place, name in enumerate(_alone(wanted).names)}
    return [known.get(pair, alone.get(pair[0])) for pair in wanted.hashes.items()]


class _Borrowing:
    """A batch (features.store.Batch) on its way through the store that is asked."""

    def __init__(self, borrowed: Borrowed, batch: Batch, events: Sequence[Event]) -> None:
        self._borrowed, self._batch, self._events = borrowed, batch, events

    def apply(self) -> None:
        self._batch.apply()

    def answers(self) -> list[Applied]:
        return list(map(self._borrowed.answer, self._events, self._batch.answers()))
