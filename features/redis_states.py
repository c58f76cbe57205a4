"""What networks carry, in Redis: the part that a store on one server and one on a cluster share.

A state lies in the slot of its value, in a key of its own under the store's base. What is written back goes ahead of the next
batch's calls, in the same pipeline; each state is compared and written in one step (``script/kept.lua``).

**Filling** writes more states than one step may, on a cluster in many places, and none must be there without its position. So it is
a redo log. States are laid down in pieces beside the network's own; then the position is set, in one step, and with it the name
of these pieces; then each piece is brought to its places. Whoever comes next (this filler or another, a reader, an adoption)
first brings what the position covers to its places; pieces that it does not cover are a killed filler's, and are cleared away.
Whoever fills says so in the same place; the position of one who was replaced meanwhile is refused.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import chain, count, islice
from secrets import token_hex
from typing import Any, NamedTuple

import msgspec

from features.carried import Carrying, Filled, Kept, Recent, carried, checked, idle_us, named
from features.compute import Plan
from features.events import Event, Transaction
from features.packed_states import carried_plan, packed_kept, slices
from features.packing import NO_DIGEST, Packer, epoch_of
from features.store import Applied, Source, StoreBehind

KEPT, FILLED = (
    files("features").joinpath("script", f"{name}.lua").read_text() for name in ("kept", "filled")
)

CALL = 512
"""States, and answers, that are written back in one step: 1 ms."""

CALL_BYTES = 1 << 18
READ = 200  # states that are read in one step
DROPPED = 500  # keys that are dropped in one step
LOST = re.compile(r"LOST (\S+) (\d+) (\d+) (\d+)")
"""A script's refusal: the partition, how far it was to be seen before, how far that is held, and the seq."""

POSITION = struct.Struct("<d")
ANY_DIGEST = b"?" * 16

Command = tuple[Any, ...]
Asked = tuple[bytes, Sequence[Command]]
"""Commands, and the base whose slot they are about."""


class Waiting(NamedTuple):
    """A state that waits to be written back."""

    base: bytes
    packed: bytes
    weight: int  # itself and its answers
    command: Command | None = None  # instead of a state: what is done behind those before it


class Carries(NamedTuple):
    """How the batches of one network are packed, and its script's plan."""

    carrying: Carrying
    plan: bytes
    packer: Packer
    place: int  # of its entity among those of an event

    def packed(self, event: Event) -> bytes:
        """An item that says whose state is asked for."""
        if not isinstance(event, Transaction):
            return self.packer(event)
        return self.packer(event) + self.whose(event)

    def whose(self, event: Transaction) -> bytes:
        """What stands for the value whose state is asked for."""
        value = event.entities[self.place]
        return self.packer.known(self.carrying.entity, value) if value else NO_DIGEST


class StatesInRedis:
    """The part of features.carried.CarryingStore that stores in Redis have."""

    _plan: Plan
    _packer: Packer

    def _begin_carrying(self, packed_plan: bytes, shelves: int) -> None:
        """Nothing is carried yet; `shelves` are those of an epoch's ids."""
        self._uncarried, self._shelves = packed_plan, shelves
        self._entity = ""
        self._carries: Carries | None = None
        self._waiting: deque[Waiting] = deque()
        self._filling: dict[str, str] = {}  # by the network that this store fills: its name there
        self._pieces = count()
        self._recent: Recent[tuple[bytes, int]] = Recent()
        self.refused = 0

    # --- where things are

    def _bases(self) -> Sequence[bytes]:
        """All places where states may lie; the first one keeps the positions of fillers."""
        raise NotImplementedError

    def _anywhere(self) -> bytes:
        """A pattern that fits all of them."""
        raise NotImplementedError

    def _base_of(self, digest: bytes) -> bytes:
        """Where the states of a value lie."""
        raise NotImplementedError

    def _told(self, asked: Sequence[Asked]) -> list[list[Any]]:
        """What is answered to commands, by the base whose slot they are about, in one round trip. Raises what is wrong."""
        raise NotImplementedError

    def _call(self, base: bytes, script: str, *arguments: Any) -> Command:
        """A call of a script in a place."""
        raise NotImplementedError

    def _keys(self, pattern: bytes) -> Iterator[bytes]:
        """All keys of a pattern, wherever they are."""
        raise NotImplementedError

    def _unlink(self, keys: Sequence[bytes]) -> int:
        """Drop keys; how many there were."""
        raise NotImplementedError

    # --- carrying

    def carry(self, entity: str, network: str | None) -> None:
        """What answers tell from the next batch on."""
        index = self._plan.index_of(entity)
        self._entity = entity
        if network is None:
            self._carries = None
            return
        carrying = Carrying(entity, checked(network))
        plan = carried_plan(self._plan, self._uncarried, carrying)
        self._carries = Carries(carrying, plan, self._packer, index)

    def keep(self, kept: Sequence[Kept], through: Sequence[Source] = ()) -> None:
        """Write these back before the next batch."""
        carrying = self._carries.carrying if self._carries else None
        for each in kept:
            entity, network = named(each, self._entity, carrying)
            digest = self._packer.known(entity, each.value)
            known = [
                self._recent.get(event_id) or (self._packer.id(event_id), 0) for event_id, _ in each.answers
            ]
            packed = packed_kept(network, digest, each, known)
            self._waiting.append(Waiting(self._base_of(digest), packed, 1 + len(known)))
        if through:
            network = carried(carrying).network
            told = [part for each in through for part in (_place(each), each.before, each.after)]
            for base in self._bases():
                self._waiting.append(Waiting(base, b"", 0, self._step(base, "through", network, *told)))

    def written(self, network: str) -> dict[tuple[str, int], int]:
        """Up to where a network has seen the log."""
        name = b"k" + checked(network).encode()
        told = [
            held for (held,) in self._told([(base, [("HGETALL", base + name)]) for base in self._bases()])
        ]
        held = [positions_of(pairs(each)) for each in told]
        everywhere = set.intersection(*map(set, held))
        return {place: min(each[place] for each in held) for place in everywhere}

    def remember(self, events: Sequence[Event], items: Sequence[bytes], answers: Sequence[Applied]) -> None:
        """The numbers of events that will be written back in a moment; `items` begin with their kind and id."""
        put = self._recent.put
        for event, item, applied in zip(events, items, answers, strict=True):
            if applied.number:
                put(event.event_id, (item[1:17], applied.number))

    def flush(self) -> None:
        """Write back what waits."""
        waiting = self._taken()
        if waiting:
            with self._back_if_it_fails(waiting):
                self._count(chain.from_iterable(self._told(self._written(waiting))))

    def _taken(self) -> list[Waiting]:
        """What waits, and does no longer."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken

    @contextmanager
    def _back_if_it_fails(self, waiting: Sequence[Waiting]) -> Iterator[None]:
        """Nobody knows then what was written; to write it again does no harm."""
        try:
            yield
        except StoreBehind:  # they rest on what is lost
            raise
        except BaseException:
            self._waiting.extendleft(reversed(waiting))
            raise

    def _written(self, waiting: Sequence[Waiting]) -> list[Asked]:
        """The calls that write states back, by their places."""
        if not waiting:
            return []
        settings = struct.pack("<ddd", self._shelves, epoch_of(self._plan), idle_us(self._plan, self._entity))
        by_base: dict[bytes, list[Waiting]] = {}
        for each in waiting:
            by_base.setdefault(each.base, []).append(each)
        return [
            (
                base,
                [
                    self._call(base, KEPT, settings, each) if isinstance(each, bytes) else each
                    for each in _calls(some)
                ],
            )
            for base, some in by_base.items()
        ]

    def _count(self, replies: Iterable[Any]) -> None:
        """Hear what was said to calls that write back. Raises what is wrong with one."""
        for reply in replies:
            if isinstance(reply, Exception):
                raise told_lost(reply) or reply
            self.refused += int(reply)

    # --- filling

    def fill(self, network: str, states: Mapping[str, bytes], position: Mapping[str, int]) -> None:
        """Write states up to a position."""
        by = self._filling.get(network) or self._take_over(network)
        called, laid = f"{by}:{next(self._pieces)}", _laid(network)
        digests: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for value, state in states.items():
            digest = self._packer.digest(self._named(), value)
            digests.setdefault(self._base_of(digest), []).append((digest, state))
        for base, some in digests.items():
            for number, piece in enumerate(slices(some)):
                self._told([(base, [("HSET", base + laid, f"{called}:{number}", piece)])])
        self._commit(network, by, called, position)
        self._pour(network, called)

    def _take_over(self, network: str) -> str:
        """Be the one who fills a network: what another began is brought to its end, or cleared away."""
        checked(network)
        bases, laid = self._bases(), _laid(network)
        if not all(meta for (meta,) in self._told([(base, [("EXISTS", base)]) for base in bases])):
            raise ValueError("states are filled beside windows: nothing was applied to this store yet")
        by = token_hex(8)
        self._told([(bases[0], [("HSET", bases[0] + laid, "by", by)])])
        self._finish(network)
        for base, (fields,) in zip(
            bases, self._told([(b, [("HKEYS", b + laid)]) for b in bases]), strict=True
        ):
            vain = [field for field in fields if b":" in field]
            if vain:
                self._told([(base, [("HDEL", base + laid, *vain)])])
        self._filling[network] = by
        return by

    def _commit(self, network: str, by: str, called: str, position: Mapping[str, int]) -> None:
        first, packed = self._bases()[0], msgspec.msgpack.encode(dict(position))
        ((done,),) = self._told([(first, [self._step(first, "commit", network, by, called, packed)])])
        if not done:
            self._filling.pop(network, None)
            raise Filled(network)

    def _finish(self, network: str) -> None:
        """Bring what the position covers to its places."""
        first = self._bases()[0]
        ((called,),) = self._told([(first, [("HGET", first + _laid(network), "called")])])
        if called:
            self._pour(network, called.decode())

    def _pour(self, network: str, called: str) -> None:
        laid, idle = _laid(network), idle_us(self._plan, self._named())
        bases = self._bases()
        for base, (fields,) in zip(
            bases, self._told([(b, [("HKEYS", b + laid)]) for b in bases]), strict=True
        ):
            for field in fields:
                if field.startswith(f"{called}:".encode()):
                    self._told([(base, [self._step(base, "pour", network, field, idle)])])

    def filled(self, network: str) -> dict[str, int] | None:
        """The position up to which they are filled."""
        first = self._bases()[0]
        ((found,),) = self._told([(first, [("HGET", first + _laid(checked(network)), "at")])])
        return msgspec.msgpack.decode(found, type=dict[str, int]) if found else None

    def states(self, network: str, values: Sequence[str]) -> list[bytes]:
        """The states of these values."""
        checked(network)
        self._finish(network)
        entity, idle = self._named(), idle_us(self._plan, self._named())
        digests = [self._packer.digest(entity, value) for value in values]
        by_base: dict[bytes, list[int]] = {}
        for number, digest in enumerate(digests):
            by_base.setdefault(self._base_of(digest), []).append(number)
        found = [b""] * len(values)
        for base, numbers in by_base.items():
            for at in range(0, len(numbers), READ):
                some = numbers[at : at + READ]
                joined = b"".join([digests[each] for each in some])
                ((told,),) = self._told([(base, [self._step(base, "read", network, joined, idle)])])
                for number, state in zip(some, told, strict=True):
                    found[number] = state
        return found

    def adopt(self, network: str) -> None:
        """What was applied so far it has seen."""
        checked(network)
        self._finish(network)
        self._told([(base, [self._step(base, "adopt", network)]) for base in self._bases()])

    def adopted(self, network: str) -> bool:
        """Whether it was adopted."""
        name = checked(network)
        told = self._told([(base, [("HEXISTS", base + b"w", name)]) for base in self._bases()])
        return all(there for (there,) in told)

    def drop_states(self, network: str) -> None:
        """Forget a network."""
        ends = (_laid(checked(network)), b"k" + network.encode())
        for base in self._bases():
            self._told([(base, [("HDEL", base + b"w", network), ("UNLINK", *(base + end for end in ends))])])
        for kind in (b"h" + ANY_DIGEST + network.encode(), b"a" + network.encode() + b":*"):
            found = self._keys(self._anywhere() + kind)
            while some := list(islice(found, DROPPED)):
                self._unlink(some)
        self._filling.pop(network, None)

    def _named(self) -> str:
        if not self._entity:
            raise ValueError("nobody has told of which entity networks carry states: see `carry`")
        return self._entity

    def _step(self, base: bytes, *step: Any) -> Command:
        return self._call(base, FILLED, *step)


def literal(text: bytes) -> bytes:
    """A pattern of SCAN that fits these bytes alone."""
    return b"".join(b"\\" + text[at : at + 1] for at in range(len(text)))


def _laid(network: str) -> bytes:
    """The end of the key in which what is to be filled lies, and how far it came."""
    return b"w" + network.encode()


def _calls(waiting: Sequence[Waiting]) -> Iterator[bytes | Command]:
    """What waits, in its order: states of calls that are short, and what is done between them."""
    items: list[bytes] = []
    weight = size = 0
    for each in waiting:
        full = weight + each.weight > CALL or size + len(each.packed) > CALL_BYTES
        if items and (full or each.command):
            yield b"".join(items)
            items, weight, size = [], 0, 0
        if each.command:
            yield each.command
            continue
        items.append(each.packed)
        weight += each.weight
        size += len(each.packed)
    if items:
        yield b"".join(items)


def _place(source: Source) -> str:
    return f"{source.topic}/{source.partition}"


def told_lost(reply: Exception) -> StoreBehind | None:
    """What was lost of what networks have seen; None where the reply is another error."""
    found = LOST.match(str(reply))
    if found is None:
        return None
    topic, _, partition = found[1].rpartition("/")
    return StoreBehind(Source(topic, int(partition), int(found[2]), 0), int(found[3]), int(found[4]))


def positions_of(held: Iterable[tuple[bytes, bytes]]) -> dict[tuple[str, int], int]:
    """By topic and partition: the offset behind the last that was applied, of what a store keeps under its base and "p"."""
    places = ((name.decode().rpartition("/"), POSITION.unpack(packed)) for name, packed in held)
    return {(topic, int(partition)): int(at) for (topic, _, partition), (at,) in places}


def pairs(told: Any) -> Iterable[tuple[bytes, bytes]]:
    """A reply that is a map, or a row of names and values."""
    return told.items() if isinstance(told, dict) else zip(told[::2], told[1::2], strict=True)
