"""How a batch falls to the shards of a store on several servers, and how their answers become one. No driver, any thread.

A shard is a store of its own: a base key in a slot of its own, run by the same script. There are two kinds, so many of
each. *Homes* keep event ids and no entity; an id's home is named by its digest. *Shards* of entities keep the values whose
digests name them; what a shard is given of an event names no entity but these.

A batch goes its way in two steps. First its homes are told of its ids: each **claims** its event's body and whose it is,
so that the same id with another body is refused, whichever entities that one names; and a label learns where the entities
of its event live. Then the events go to the shards of their entities, and the labels behind them. Homes and shards each
remember the ids that they were given, so what one of them has applied and another has not (a worker died in between) is
completed when the batch comes again: each applies what is new to it, and answers the rest as before.

What lies below the place that a home or a shard holds was applied there, and changes nothing any more; what a shard has lost
it is given again, in the order of the log, and must be given what it was given the first time. A home that was not lost
knows that from its ids. Where it has forgotten them it goes by what it *noted*: claims that it refused, and labels that came
before their event. A label whose event it has forgotten goes to every shard as a guess, which counts where the event is known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from features.calls import Call, Share, calls_of
from features.compute import Plan
from features.events import Event, Label, Transaction
from features.packing import (
    APPROXIMATE,
    HEAD,
    NO_DIGEST,
    STATUSES,
    VECTORS,
    WIDE,
    Packer,
    Unpacker,
    whole,
)
from features.states import NOTHING
from features.states import Told as Carried
from features.store import Applied, Run, Status

CLAIMED = slice(1, 41)  # of a packed event: its id, body, time and arrival
ID = slice(1, 17)
LAST_OF_ID = 16  # the first bytes of an id choose among the keys of its home
EARLY = struct.Struct("<B16sIIIBdII")
"""A label as it is packed, from the numbers that a home tells of it."""

EARLY_NUMBERS = 7
OF, EARLY_LABELS = "of", "early"
CLAIM, TICK, SETTLED = b"\x03", b"\x04", b"\x05"
UNSURE = 8  # of what is given to a shard: its home has forgotten the id
AGAIN = 1  # mark of what was read again, so long after that its home has forgotten its id
TIME = struct.Struct("<d")
NEVER = float("-inf")


Whose = Callable[[Transaction], bytes]


class Piece(NamedTuple):
    """What one shard is given of an event."""

    shard: int
    item: bytes
    parts: Sequence[int]  # of the plan's entities those that live there


class Told(NamedTuple):
    """What a home or a shard answered of one item."""

    shard: int
    status: Status
    seq: int
    marks: int
    raw: Any
    parts: Sequence[int] = ()
    carried: Carried = NOTHING


class Item(NamedTuple):
    """An event or a label on its way to home and shards."""

    run: int
    place: int  # in its run
    arrived_us: int
    clock_us: float  # the latest arrival of the batch up to here
    home: int
    claim: bytes  # what the home is given
    pieces: Sequence[Piece]  # of a label none: whoever has its event's entities gets `packed`
    packed: bytes


class Lives(NamedTuple):
    """What of an event lives in one shard."""

    shard: int
    entities: frozenset[str]
    owning: bool  # whether labels of the event go there


class Dealt(NamedTuple):
    """What all homes, or all shards, are called with: by shard its calls, and which item each answer in it is of."""

    calls: list[list[Call[bytes]]]
    answered: list[
        list[tuple[int, Sequence[int]]]
    ]  # (number of the item, parts); -1: nobody waits for this one


class Deal:
    """Deals the items of a batch, in their order, to shards."""

    def __init__(self, runs: Sequence[Run], items: Sequence[Item], count: int) -> None:
        """Nothing is dealt yet."""
        self._runs, self._count = runs, count
        self._clock = items[-1].clock_us if items else NEVER  # also of items that no shard is given
        self._hands: list[list[tuple[list[bytes], list[int]]]] = [
            [([], []) for _ in runs] for _ in range(count)
        ]
        self._answered: list[list[tuple[int, Sequence[int]]]] = [[] for _ in range(count)]
        self._clocks = [NEVER] * count

    def give(self, shard: int, item: Item, packed: bytes, number: int, parts: Sequence[int] = ()) -> None:
        """What comes next to a shard. It hears of the clock first where that is ahead of the item's own arrival."""
        if item.clock_us > self._clocks[shard]:
            self._clocks[shard] = item.clock_us
            if item.clock_us > item.arrived_us:
                packed = TICK + TIME.pack(item.clock_us) + packed
        items, places = self._hands[shard][item.run]
        items.append(packed)
        places.append(item.place)
        self._answered[shard].append((number, parts))

    def done(self, size: int) -> Dealt:
        """Calls of at most `size` items. Every shard hears of every source, and of the clock at the batch's end.

        So each of them knows by itself how far it holds a partition, and forgets when all others do.
        """
        return Dealt([self._calls(shard, size) for shard in range(self._count)], self._answered)

    def _calls(self, shard: int, size: int) -> list[Call[bytes]]:
        hands = zip(self._runs, self._hands[shard], strict=True)
        calls = calls_of([Share(items, run.source, places) for run, (items, places) in hands], size)
        if self._clock > self._clocks[shard]:
            calls = calls or [Call([], [], [])]
            calls[-1].items.append(TICK + TIME.pack(self._clock))
        return calls


class Shards:
    """Where what lives, in a store of `count` homes and as many shards of entities."""

    def __init__(self, plan: Plan, packer: Packer, count: int) -> None:
        """`count` is a power of two, at most 256."""
        self._packer, self._mask, self.count = packer, count - 1, count
        self._digests = [HEAD.size + 16 * part for part in range(len(plan.entities))]
        self._owning = frozenset(plan.owners)
        self._names = [entity.part.entity for entity in plan.entities]
        self._end = HEAD.size + 16 * len(plan.entities)

    def of(self, digest: bytes) -> int:
        """The shard in which a value lives, with its parts."""
        return digest[0] & self._mask

    def lives(self, event: Transaction) -> list[Lives]:
        """Where an event's entities live."""
        pieces = self._pieces(self._packer(event))
        named = [frozenset(self._names[part] for part in piece.parts) for piece in pieces]
        return [
            Lives(piece.shard, names, not self._owning.isdisjoint(piece.parts))
            for piece, names in zip(pieces, named, strict=True)
        ]

    def items(self, runs: Sequence[Run], whose: Whose | None = None) -> list[Item]:
        """The events and labels of a batch, packed; `whose` tells the digest of the value that a network carries a state of."""
        made: list[Item] = []
        clock = NEVER
        for number, run in enumerate(runs):
            for place, event in enumerate(run.events):
                clock = max(clock, event.arrived_us)
                made.append(self._item(number, place, clock, event, whose))
        return made

    def _item(self, run: int, place: int, clock: float, event: Event, whose: Whose | None) -> Item:
        packed = self._packer(event)
        home = packed[LAST_OF_ID] & self._mask
        if isinstance(event, Label):
            return Item(run, place, event.arrived_us, clock, home, packed, (), packed)
        pieces = self._pieces(packed, whose(event) if whose else b"")
        owners = [piece.shard for piece in pieces if not self._owning.isdisjoint(piece.parts)]
        claim = CLAIM + packed[CLAIMED] + _numbers(owners)
        return Item(run, place, event.arrived_us, clock, home, claim, pieces, packed)

    def _pieces(self, packed: bytes, whose: bytes = b"") -> list[Piece]:
        """A packed event for each shard that one of its entities lives in, and no other named there; nor `whose` state there is."""
        digests = [packed[at : at + 16] for at in self._digests]
        living: dict[int, list[int]] = {}
        for part, digest in enumerate(digests):
            if digest != NO_DIGEST:
                living.setdefault(self.of(digest), []).append(part)
        at = self.of(whose) if whose and whose != NO_DIGEST else -1
        if at >= 0:
            living.setdefault(at, [])
        head, rest = packed[: HEAD.size], packed[self._end :]
        ends = {shard: whose if shard == at else NO_DIGEST[: len(whose)] for shard in living}
        return [
            Piece(shard, b"".join([head, *_blanked(digests, parts), rest, ends[shard]]), parts)
            for shard, parts in living.items()
        ]

    def claims(self, runs: Sequence[Run], items: Sequence[Item], size: int) -> Dealt:
        """The first step: every id at its home."""
        deal = Deal(runs, items, self.count)
        for number, item in enumerate(items):
            deal.give(item.home, item, item.claim, number)
        return deal.done(size)

    def entities(self, runs: Sequence[Run], items: Sequence[Item], homes: Sequence[Told], size: int) -> Dealt:
        """The second step: what the homes did not refuse, to the shards of its entities."""
        deal = Deal(runs, items, self.count)
        for number, (item, home) in enumerate(zip(items, homes, strict=True)):
            if home.status is Status.CONFLICT:
                continue
            forgotten = home.marks & AGAIN
            for piece in item.pieces:
                packed = _unsure(piece.item) if forgotten else piece.item
                deal.give(piece.shard, item, packed, number, piece.parts)
            for shard, label in self._labels(item, home):
                deal.give(shard, item, label, -1)
        return deal.done(size)

    def _labels(self, item: Item, home: Told) -> Iterator[tuple[int, bytes]]:
        """Labels that follow an item to shards: itself, or those that came before their event."""
        if home.status in VECTORS:
            owners = [piece.shard for piece in item.pieces if not self._owning.isdisjoint(piece.parts)]
            for at in range(0, len(home.raw), EARLY_NUMBERS):
                label = EARLY.pack(2, item.packed[ID], *home.raw[at : at + EARLY_NUMBERS])
                yield from ((shard, label) for shard in owners)
            return
        if home.marks & AGAIN:
            guess = _unsure(item.packed)
            yield from ((shard, guess) for shard in range(self.count))
        else:
            yield from ((shard, item.packed) for shard in home.raw)


def _unsure(packed: bytes) -> bytes:
    """A packed event or label whose home has forgotten its id."""
    return bytes([packed[0] | UNSURE]) + packed[1:]


def _numbers(shards: Sequence[int]) -> bytes:
    """An array of small numbers (msgpack), behind its length in bytes."""
    body = b"".join(bytes([each]) if each < 128 else b"\xcc" + bytes([each]) for each in shards)
    start = bytes([0x90 | len(shards)]) if len(shards) < 16 else b"\xdc" + struct.pack(">H", len(shards))
    return struct.pack("<I", len(start) + len(body)) + start + body


def _blanked(digests: Sequence[bytes], parts: Sequence[int]) -> Iterator[bytes]:
    return (digest if part in parts else NO_DIGEST for part, digest in enumerate(digests))


class Merger:
    """Makes one answer of those of an event's home and shards."""

    def __init__(self, plan: Plan, columns: Unpacker, count: int) -> None:
        """For answers to calls with this plan, of `count` homes and as many shards."""
        self._plan, self._columns, self._count = plan, columns, count
        self._absent = [number for entity in plan.entities for number in entity.absent]
        self._spans = [(entity.start, entity.width) for entity in plan.entities]

    def homes(self, items: Sequence[Item], dealt: Dealt, replies: Sequence[Sequence[bytes]]) -> list[Told]:
        """What became of each item at its home."""
        told: list[Any] = [None] * len(items)
        for number, each in self._told(dealt, replies, self._uncarried):
            told[number] = each
        return told

    def __call__(
        self,
        events: Sequence[Event],
        homes: Sequence[Told],
        dealt: Dealt,
        replies: Sequence[Sequence[bytes]],
        *,
        carried: bool = False,
    ) -> list[Applied]:
        """What became of each event; `carried`: the replies say what a network carries, too."""
        pieces: list[list[Told]] = [[] for _ in events]
        for number, each in self._told(dealt, replies, self._carried if carried else self._uncarried):
            pieces[number].append(each)
        return [self._applied(*each) for each in zip(events, homes, pieces, strict=True)]

    def _told(
        self,
        dealt: Dealt,
        replies: Sequence[Sequence[bytes]],
        columns: Callable[[Sequence[bytes]], Iterable[Sequence[Any]]],
    ) -> Iterator[tuple[int, Told]]:
        for shard, (answered, some) in enumerate(zip(dealt.answered, replies, strict=True)):
            for (number, parts), *told in zip(answered, *columns(some), strict=True):
                status, seq, marks, raw, carried = told
                if number >= 0:
                    yield number, Told(shard, STATUSES[status], seq, marks, raw, parts, carried)

    def _uncarried(self, replies: Sequence[bytes]) -> Iterable[Sequence[Any]]:
        """The columns of replies that say nothing of a network."""
        columns = list(self._columns.columns(replies))
        return [*columns, [NOTHING] * len(columns[0])]

    def _carried(self, replies: Sequence[bytes]) -> Iterable[Sequence[Any]]:
        """The columns of replies that say what a network carries."""
        rows = self._columns.rows(replies)
        return list(zip(*rows, strict=True)) if rows else [()] * 5

    def _applied(self, event: Event, home: Told, pieces: Sequence[Told]) -> Applied:
        if not isinstance(event, Transaction):
            return Applied(home.status, home.seq, ())
        status = _status([each.status for each in pieces] or [home.status])
        if status is Status.CONFLICT:
            return Applied(status, home.seq, ())
        raw = self._raw(pieces)
        approximate = any(each.marks & APPROXIMATE for each in pieces)
        error = self._plan.error(raw) if approximate else 0.0
        numbers = numbers_of(self._count, home, pieces)
        carried = next((each.carried for each in pieces if each.carried is not NOTHING), NOTHING)
        return Applied(status, home.seq, self._plan.vector(event, raw), approximate, error, numbers, *carried)

    def _raw(self, pieces: Iterable[Told]) -> list[int]:
        """The numbers of all entities, each from where it lives."""
        raw = self._absent.copy()
        for each in pieces:
            told, at = whole(each.raw) if each.marks & WIDE else each.raw, 0
            for part in each.parts:
                start, width = self._spans[part]
                raw[start : start + width] = told[at : at + width]
                at += width
        return raw


def numbers_of(count: int, home: Told, pieces: Sequence[Told]) -> dict[str, int]:
    """In which order its shards applied an event: its seq in each of them, how many they are, and how many labels came first.

    An entity's events and labels are told in the order of its shard; one order for all there is none. Labels have no
    decision that could tell their numbers: they took those between. But what came before its event followed it at once.

    >>> numbers_of(16, Told(1, Status.FRESH, 9, 0, []), [Told(3, Status.FRESH, 27, 0, []), Told(6, Status.FRESH, 38, 0, [])])
    {'of': 16, '3': 27, '6': 38}
    """
    told = {OF: count} | {str(each.shard): each.seq for each in pieces if each.seq}
    return told | {EARLY_LABELS: len(home.raw) // EARLY_NUMBERS} if home.raw else told


def _status(told: Sequence[Status]) -> Status:
    """An event is as new as its newest piece; a shard that knows its id with another body lets nobody have it."""
    order = (Status.CONFLICT, Status.FRESH, Status.DUPLICATE, Status.LATE)
    return min(told, key=order.index)
