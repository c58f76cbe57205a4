"""The network's part in deciding a batch: each card's state is found, one step reads all new events, and the states go back.

What is promised is told in features.carried. Here is the caller's half of it: batches are applied ahead of being answered, so the
states that are on their way to the store are kept in this process until every batch that was applied before they were
stored is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeVar

from features.carried import UNTOLD, Carried, Kept
from features.events import Event, Transaction
from features.store import Applied, Batch, FeatureStore, Source
from models.base import Advanced, SequenceModel, Series, Vector

Step = Callable[[Sequence[Series]], Sequence[Advanced | None]]
"""`SequenceModel.advance`, or what stands before it: None for a card that the network does not read now."""

Narrow = Callable[[Vector], Vector]
Value = TypeVar("Value")


@dataclass(slots=True)
class Stretch:
    """New events of a card, one behind the other, that go on from one state."""

    value: str
    before: int  # the mark of that state
    state: bytes
    after: int  # the number of the last event
    places: list[int] = field(default_factory=list)  # of the events in the batch
    ids: list[str] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)

    def series(self) -> Series:
        """As a network reads it."""
        return Series(self.state, self.vectors)


@dataclass(slots=True)
class Parted:
    """A batch, parted by its cards."""

    told: list[float]  # by event: what the network has answered to it before; NaN where it has not
    stretches: list[Stretch] = field(default_factory=list)
    aside: list[tuple[int, Series]] = field(default_factory=list)  # late events, behind those before them
    again: list[tuple[int, int]] = field(
        default_factory=list
    )  # an event that comes twice, and its first place


class SequencePart:
    """A network beside the store that keeps its states. It counts from its making on: make it between two batches."""

    def __init__(
        self,
        network: str,
        model: SequenceModel,
        store: FeatureStore,
        *,
        entity: tuple[int, str],
        names: Sequence[str],
        writing: AbstractContextManager[object],
        step: Step | None = None,
    ) -> None:
        """The network of this id reads vectors of features with these `names`, and carries states of an entity (place and name).

        `writing` is held while the store writes; all parts on one store share it. `step` stands before the model's own.
        """
        self.network, self.model, self.store = network, model, store
        self._place, self._entity = entity[0], entity[1]
        self._narrow = narrowing(names, model.features)
        self._writing = writing
        self._step: Step = step or model.advance
        self._begun = 0
        self._ways: deque[Way] = deque()
        self._states: dict[str, tuple[Carried, int]] = {}  # by value, and of which batch
        self._answers: dict[str, tuple[float, int]] = {}  # by event
        store.carry(self._entity, network)

    def begin(self, sources: Sequence[Source] = ()) -> Way:
        """A batch's way; to be called before the store is given it. In the order of the batches.

        `sources` are what it comes from: the store keeps how far the network has seen them.
        """
        self._begun += 1
        return Way(self, self._begun, sources)

    # --- what a way does

    def applied(self, batch: Batch) -> None:
        """Apply a batch, and write back with it what waits."""
        with self._writing:
            batch.apply()

    def read(self, way: Way, events: Sequence[Event], applied: Sequence[Applied]) -> list[float]:
        """What the network says of each event: see `Way.read`."""
        self._let_go(way.number)
        parted = self._parted(events, applied)
        stretches = [each for each in parted.stretches if each.vectors]
        asked = [each.series() for each in stretches] + [series for _, series in parted.aside]
        read = self._step(asked) if asked else ()
        made = [after or self._missed(series) for after, series in zip(read, asked, strict=True)]
        self._keep(way, stretches, made)
        _tell(parted, stretches, made)
        return parted.told

    def settle(self, way: Way) -> None:
        """Return once what a batch wrote back is stored."""
        with self._writing:  # another batch that is being applied may have taken it along
            self.store.flush()
        way.until = self._begun  # what is begun later finds it in the store

    def _parted(self, events: Sequence[Event], applied: Sequence[Applied]) -> Parted:
        parted = Parted([UNTOLD] * len(events))
        current: dict[str, Stretch] = {}
        first: dict[str, int] = {}
        for place, (event, known) in enumerate(zip(events, applied, strict=True)):
            carried = known.carried
            if carried is None or not isinstance(event, Transaction):
                continue
            value, number = event.entities[self._place], known.number
            stretch = current.get(value)
            if stretch is None or _comes_anew(stretch, carried):
                stretch = current[value] = self._begins(value, carried, anew=stretch is not None)
                parted.stretches.append(stretch)
            if number > stretch.after:
                stretch.after = number
                stretch.places.append(place)
                stretch.ids.append(event.event_id)
                stretch.vectors.append(self._narrow(known.vector))
                first[event.event_id] = place
            elif not number:
                seen = [*stretch.vectors, self._narrow(known.vector)]
                parted.aside.append((place, Series(stretch.state, seen)))
            elif event.event_id in first:
                parted.again.append((place, first[event.event_id]))
            else:
                parted.told[place] = self._told(event.event_id, known.told)
        return parted

    def _begins(self, value: str, carried: Carried, *, anew: bool) -> Stretch:
        """A card's first events of a batch go on from what is on its way, if that is ahead of the store."""
        held = None if anew else self._states.get(value)
        mark, state = held[0] if held is not None and held[0].mark > carried.mark else carried
        return Stretch(value, mark, state, mark)

    def _told(self, event_id: str, told: float) -> float:
        """The first answer, which may be on its way still."""
        if told == told:
            return told
        return self._answers.get(event_id, (UNTOLD, 0))[0]

    def _missed(self, series: Series) -> Advanced:
        return Advanced(self.model.missing(series), [UNTOLD] * len(series.vectors))

    def _keep(self, way: Way, stretches: Sequence[Stretch], made: Sequence[Advanced]) -> None:
        kept = [
            Kept(
                each.value,
                each.before,
                each.after,
                after.state,
                list(zip(each.ids, after.scores, strict=True)),
                self.network,
            )
            for each, after in zip(stretches, made, strict=False)
        ]
        for each in kept:
            self._states[each.value] = Carried(each.after, each.state), way.number
            for event_id, answer in each.answers:
                self._answers[event_id] = answer, way.number
        way.kept = kept
        self._ways.append(way)
        self.store.keep(kept, way.sources)

    def _let_go(self, number: int) -> None:
        """Forget what every batch from this one on finds in the store."""
        while self._ways and self._ways[0].until < number:
            way = self._ways.popleft()
            for each in way.kept:
                _drop(self._states, each.value, way.number)
                for event_id, _ in each.answers:
                    _drop(self._answers, event_id, way.number)


class Way:
    """A batch on its way past the network. Batches are applied, read and settled each in their order."""

    __slots__ = ("_part", "kept", "number", "sources", "until")

    def __init__(self, part: SequencePart, number: int, sources: Sequence[Source]) -> None:
        """The `number`th of a part."""
        self._part = part
        self.number, self.sources = number, sources
        self.kept: Sequence[Kept] = ()
        self.until: float = float(
            "inf"
        )  # the last batch that may have been applied before this one was stored

    def apply(self, batch: Batch) -> None:
        """Apply the batch to the store, with what waits to be written back."""
        self._part.applied(batch)

    def read(self, events: Sequence[Event], applied: Sequence[Applied]) -> list[float]:
        """The network's probability for each event, NaN where it has none; the states after them are on their way then.

        An event that was seen before gets its first answer. One that is late is read behind those before it, and changes
        nothing.
        """
        return self._part.read(self, events, applied)

    def settle(self) -> None:
        """Return once the states of this batch are stored: only then it is done. Raises StoreBehind where some were lost."""
        if self.kept or self.sources:
            self._part.settle(self)
        else:
            self.until = 0


def narrowing(names: Sequence[str], features: Sequence[str]) -> Narrow:
    """Takes a network's features out of vectors whose features have these names. Raises ValueError where one is missing.

    >>> narrowing(("amount", "age", "night"), ("night", "amount"))((5.0, 7.0, 1.0))
    (1.0, 5.0)
    """
    missing = [name for name in features if name not in names]
    if missing:
        raise ValueError(f"the network reads {', '.join(missing)}, which the profile does not declare")
    if tuple(features) == tuple(names):
        return _whole
    places = [list(names).index(name) for name in features]
    if len(places) == 1:
        return lambda vector: (vector[places[0]],)
    return itemgetter(*places)


def _whole(vector: Vector) -> Vector:
    return vector


def _comes_anew(stretch: Stretch, carried: Carried) -> bool:
    """Whether the store tells of a state that is not before a stretch's: a new life of the card, or another worker's."""
    return carried.mark > stretch.after or (carried.mark == stretch.after and bool(stretch.vectors))


def _tell(parted: Parted, stretches: Sequence[Stretch], made: Sequence[Advanced]) -> None:
    """Put the answers where their events are."""
    told = parted.told
    for stretch, after in zip(stretches, made, strict=False):
        for place, score in zip(stretch.places, after.scores, strict=True):
            told[place] = score
    for (place, _), after in zip(parted.aside, made[len(stretches) :], strict=True):
        told[place] = after.scores[-1]
    for place, first in parted.again:
        told[place] = told[first]


def _drop(held: dict[str, tuple[Value, int]], key: str, number: int) -> None:
    """Let go of what a batch left, unless a later one put something else there."""
    found = held.get(key)
    if found is not None and found[1] == number:
        del held[key]
