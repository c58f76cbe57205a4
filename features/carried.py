"""What a network carries from event to event: a hidden state for each value of one entity, kept beside the value's windows.

A state is opaque to a store, which keeps with it the number of the last event that it has seen: its **mark**. The numbers
are those in which the store applied the events of that value. So each event changes a state once, however often it comes:

- Applying an event tells the state as it was when the batch was applied, the event's number, and what the network answered
  to it first. A number up to the mark has been seen, and the first answer counts. One beyond it has not: a worker applied the
  event and died before it wrote back. The caller steps it, with the vector that it is given: that of the first time.
- Writing back (`Kept`) says from which mark to which the state went. It changes nothing unless it goes on from what is
  stored: a repetition, or a worker that was thought dead, does no harm.

A batch may be applied before the states of the one before it are kept. So the caller keeps, in its own process, the states
that are on their way, and takes for each value the one with the higher mark: its own or the store's. A store that was told
to forget a value, or found that it was idle for too long, begins a new life of it, whose mark is that of the last
event before it (`number - 1` of its first): higher than any state of the life before, which therefore is not gone on with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from features.compute import Plan

if TYPE_CHECKING:
    from features.store import Source

UNTOLD = math.nan
"""Stands for no answer of a network."""

RECENT = 1 << 13
"""So many events, and as many again, are written back by their numbers; those before them are looked up by their ids."""

NETWORK = re.compile(r"[0-9a-f]{1,32}")


Told = TypeVar("Told")


class Carried(NamedTuple):
    """What a store keeps for one network beside one value of an entity."""

    mark: (
        int  # the number of the last event that the state has seen, or that came before its first; 0 if none
    )
    state: bytes  # b"" if there is none


class Kept(NamedTuple):
    """A state that goes from one mark to another; written as one, or not at all."""

    value: str
    before: int  # the mark of the state that this one was made from
    after: int  # the number of the last event that it has seen
    state: bytes
    answers: Sequence[tuple[str, float]]  # to the events between, by their ids, in the order of their numbers
    network: str | None = None  # None: the one that is carried


class Filled(RuntimeError):
    """A network's states are not filled (any more) by whoever wanted to."""

    def __init__(self, network: str) -> None:
        """Of this network."""
        super().__init__(f"the states of the network {network} are filled by somebody else, or no longer")


class Carrying(NamedTuple):
    """Of which entity a network carries states."""

    entity: str
    network: str


class CarryingStore(Protocol):
    """The part of features.store.FeatureStore that keeps what networks carry. All but `keep` raise StoreUnavailable."""

    @property
    def refused(self) -> int:
        """How many states were not written so far, since they did not go on from what was stored. For metrics."""
        ...

    def carry(self, entity: str, network: str | None) -> None:
        """From the next batch that is made on, answers have what this network carries of the event's value of `entity`.

        `network` is its id, at most 32 hexadecimal digits; None: nothing is carried, and costs nothing. Raises ValueError for
        another id, or for an entity that the features do not have.
        """
        ...

    def keep(self, kept: Sequence[Kept], through: Sequence[Source] = ()) -> None:
        """Write these states back in the round trip of the next batch that is applied, before it.

        One whose `before` is not the stored mark is refused, unless it has an answer to the event of the stored mark: then it
        went the way of the stored one, and on. So is one whose value is not known (any more), or whose last event is stored
        under another number: the store has lost what it rests on. Of several answers to one event the first stays; an id that
        is forgotten is passed over. Raises ValueError where nothing is carried.

        `through` are the sources of all that the carried network has seen with these states: the store keeps how far that is
        (`written`), behind the states. A server may lose what it acknowledged of states and hold what was applied: where it
        holds less than what came before these, the apply or flush that writes them raises StoreBehind.
        """
        ...

    def written(self, network: str) -> dict[tuple[str, int], int]:
        """By topic and partition: up to where a network has seen the log. Who carries it reads from there, or from `positions`."""
        ...

    def flush(self) -> None:
        """Write back what still waits, and return when it is stored."""
        ...

    def fill(self, network: str, states: Mapping[str, bytes], position: Mapping[str, int]) -> None:
        """Write states of a network that is not carried yet, made from a log up to `position`: all of it, or none.

        The entity is that of the last `carry`. However a filler ends, `filled` and `states` tell the same: those of one position,
        from which it goes on. The store does it in many small steps: first the states are laid down, then the position is
        set, then each state comes to its place; what was laid down in vain is cleared away, and what was begun is
        finished by the next call. A filled state lives from now on, by the store's clock. Raises Filled where
        another filler went on meanwhile, or the network was adopted, and ValueError where no batch was ever applied.
        """
        ...

    def filled(self, network: str) -> dict[str, int] | None:
        """The position up to which a network's states are filled; None if none are."""
        ...

    def states(self, network: str, values: Sequence[str]) -> list[bytes]:
        """A network's states of these values, b"" where there is none."""
        ...

    def adopt(self, network: str) -> None:
        """From now on this network has seen every event that was applied so far."""
        ...

    def adopted(self, network: str) -> bool:
        """Whether it was adopted. Of one that is carried from the beginning on that is said before anything is applied."""
        ...

    def drop_states(self, network: str) -> None:
        """Forget all states and answers of a network, and that it was filled."""
        ...


class Recent(Generic[Told]):
    """What was told of the last few thousand events, by their ids."""

    def __init__(self) -> None:
        """Of none yet."""
        self._new: dict[str, Told] = {}
        self._old: dict[str, Told] = {}

    def put(self, event_id: str, told: Told) -> None:
        """Remember what was told of an event."""
        self._new[event_id] = told
        if len(self._new) >= RECENT:
            self._new, self._old = {}, self._new

    def get(self, event_id: str) -> Told | None:
        """What was told of it, if that was a moment ago."""
        told = self._new.get(event_id)
        return self._old.get(event_id) if told is None else told


def checked(network: str) -> str:
    """A network's id. Raises ValueError for what is none.

    >>> checked("0badcafe")
    '0badcafe'
    """
    if not NETWORK.fullmatch(network):
        raise ValueError(f"{network!r} is no id of a network: 1 to 32 hexadecimal digits, in lower case")
    return network


def named(kept: Kept, entity: str, carrying: Carrying | None) -> Carrying:
    """Whose state it is. Raises ValueError where nobody says."""
    if kept.network is not None and entity:
        return Carrying(entity, checked(kept.network))
    return carried(carrying)


def carried(carrying: Carrying | None) -> Carrying:
    """What is carried. Raises ValueError where nothing is."""
    if carrying is None:
        raise ValueError("this state is of no network: none is carried, and none is named")
    return carrying


def idle_us(plan: Plan, entity: str) -> int:
    """How long a value of an entity may be idle before its state is forgotten: as long as any of its windows, or an id."""
    index = plan.index_of(entity)
    shapes = [shape for each in plan.entities if each.index == index for shape in (each.events, each.labels)]
    return max([shape.idle_us for shape in shapes if shape is not None], default=plan.memory_us)
