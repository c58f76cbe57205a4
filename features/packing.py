"""How a plan, events and answers look to the store's script: packed bytes in, integers out. No driver, any thread."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from features.compute import Plan
from features.events import Event, Label, Transaction
from features.ids import label_key, tie_of
from features.packed_states import carried_of, parted
from features.states import NOTHING, Told
from features.store import NOWHERE, Applied, Status
from features.windows import Shape

GENERATIONS = 2  # ids are looked up in so many epochs and one more
SHARDS = 4096  # keys that share the ids of an epoch: few ids in each, which Redis keeps compact
SWEPT = 64  # forgotten keys that leave with a call, at most

STATUSES = (
    Status.FRESH,
    Status.DUPLICATE,
    Status.CONFLICT,
    Status.LATE,
    Status.LABELLED,
    Status.LABEL_DUPLICATE,
    Status.LABEL_PENDING,
    Status.LABEL_LATE,
)
"""By their number in the script."""

VECTORS = frozenset({Status.FRESH, Status.DUPLICATE, Status.LATE})
NO_DIGEST, NO_VALUE = bytes(16), bytes(8)
LIMB = 32
LOW = (1 << LIMB) - 1
HALF = 8  # bytes of a digest that an entity's parts share, so that they can be found
SQUARE = 16  # bytes of an amount's square
APPROXIMATE, WIDE = 1, 2  # marks of an answer: WIDE has sums of two limbs

HEAD = struct.Struct("<B16s8sddIdd")
"""Of an event: its kind, id, body, time, arrival, tie, amount in two limbs; then come digests and what else is asked for."""

PLACE = struct.Struct("<ii")
NO_PLACE = -(1 << 31)
"""Stands for no latitude, and no longitude."""

SEQ = struct.Struct("<d")
"""How much the store has applied in all: what its own state begins with, and every reply."""


class Packer:
    """Makes of an event or a label what the script reads."""

    def __init__(self, plan: Plan, hash_key: bytes) -> None:
        digests, values = len(plan.entities), len(plan.fields)
        square = f"{SQUARE}s" * plan.squared
        self._parts = [
            (entity.part.entity, entity.part.name, key)
            for entity, key in zip(plan.entities, plan.keys, strict=True)
        ]
        self._inside = [inside for inside in plan.inside if inside is not None]
        inside = "B" * len(self._inside)
        self._transaction = struct.Struct(
            HEAD.format + "16s" * digests + "8s" * (values + (plan.placed is not None)) + square + inside
        ).pack
        self._label = struct.Struct("<B16s8sIBd8s").pack
        self._plan = plan
        self._hash_key = hash_key
        # A card comes again within the hour, but no event id does.
        self._digest = lru_cache(maxsize=1 << 16)(self.digest)

    def __call__(self, event: Event) -> bytes:
        """One item of a call."""
        if isinstance(event, Label):
            return self._packed_label(event)
        digests = [self._key(entity, part, *key(event)) for entity, part, key in self._parts]
        return self._transaction(
            1,
            self.id(event.event_id),
            event.body,
            event.time_us,
            event.arrived_us,
            tie_of(event.event_id),
            event.amount >> LIMB,
            event.amount & LOW,
            *digests,
            *self._values(event),
            *([_square(event.amount)] if self._plan.squared else []),
            *[inside(event) for inside in self._inside],
        )

    def _packed_label(self, label: Label) -> bytes:
        reverses = label_key(label.event_id, label.reverses) if label.reverses is not None else NO_VALUE
        return self._label(
            2,
            self.id(label.event_id),
            label_key(label.event_id, label.label_id),
            tie_of(label.label_id),
            label.fraud,
            label.arrived_us,
            reverses,
        )

    def _key(self, entity: str, part: str, value: str, shared: str) -> bytes:
        if not value:
            return NO_DIGEST
        digest = self._digest(entity, value)
        return digest if not part else digest[:HALF] + self._digest(part, shared)[:HALF]

    def _values(self, event: Transaction) -> list[bytes]:
        named = zip(self._plan.fields, self._plan.values(event), strict=True)
        digests = [self._digest(name, value)[:8] if value else NO_VALUE for name, value in named]
        return [*digests, *([_place(self._plan.places(event))] if self._plan.placed else [])]

    def known(self, name: str, value: str) -> bytes:
        """`digest` of a value that is likely to come again."""
        return self._digest(name, value)

    def id(self, event_id: str) -> bytes:
        """What stands for an event's id."""
        return blake2b(event_id.encode(), digest_size=16, key=self._hash_key).digest()

    def digest(self, name: str, value: str) -> bytes:
        """What stands for an entity's value in keys: the first half in those of its parts, too."""
        return blake2b(f"{name}\0{value}".encode(), digest_size=16, key=self._hash_key).digest()


class Unpacker:
    """What the script answers as what it means."""

    def __init__(self, plan: Plan) -> None:
        """For answers to calls with this plan."""
        self._plan = plan
        self._decode = msgspec.msgpack.Decoder(list[int | list[int | list[int]]]).decode

    def __call__(self, events: Sequence[Event], replies: Sequence[bytes]) -> list[Applied]:
        """What became of each event, from the replies to their calls."""
        return [self._applied(*each) for each in zip(events, *self.columns(replies), strict=True)]

    def carrying(self, events: Sequence[Event], replies: Sequence[bytes]) -> list[Applied]:
        """The same, and what a network carries of each, of calls whose plan says so."""
        return [self._applied(event, *row) for event, row in zip(events, self.rows(replies), strict=True)]

    def rows(self, replies: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """Number of the status, seq, marks, raw, and what a network carries, of each item of such calls."""
        made: list[tuple[Any, ...]] = []
        for reply in replies:
            main, behind = parted(reply)
            columns = list(self.columns([main]))
            made.extend(zip(*columns, carried_of(behind, columns[1]), strict=True))
        return made

    def columns(self, replies: Sequence[bytes | memoryview]) -> Iterator[list[Any]]:
        """Number of the status, seq, marks and raw of each item of these calls."""
        flat = [each for reply in replies for each in self._decode(memoryview(reply)[SEQ.size :])]
        return (flat[at::4] for at in range(4))

    def _applied(
        self,
        event: Event,
        number: int,
        seq: int,
        marks: int,
        told: Sequence[Any],
        carried: Told = NOTHING,
    ) -> Applied:
        status = STATUSES[number]
        if status not in VECTORS or not isinstance(event, Transaction):
            return Applied(status, seq, ())
        raw = whole(told) if marks & WIDE else told
        approximate = bool(marks & APPROXIMATE)
        error = self._plan.error(raw) if approximate else 0.0
        return Applied(status, seq, self._plan.vector(event, raw), approximate, error, NOWHERE, *carried)


def _place(place: Sequence[int]) -> bytes:
    return PLACE.pack(*(max(each, NO_PLACE) for each in place))


def _square(amount: int) -> bytes:
    """The square of an amount in four limbs, the highest first."""
    square = amount * amount
    return struct.pack("<4I", *(square >> shift & LOW for shift in (3 * LIMB, 2 * LIMB, LIMB, 0)))


def whole(told: Sequence[int | list[int]]) -> list[int]:
    """Numbers of which some are told in limbs."""
    return [_whole(each) for each in told]


def _whole(told: int | list[int]) -> int:
    """A number that may be told in limbs, the highest first."""
    if isinstance(told, int):
        return told
    total = 0
    for limb in told:
        total = (total << LIMB) + limb
    return total


def packed_plan(plan: Plan, shards: int = 1) -> bytes:
    """The plan as the script needs it: of a whole store, or of each of several shards."""
    return msgspec.msgpack.encode(
        {
            **_memory(plan, shards),
            "sharded": shards > 1,
            "dead": max(plan.memory_us, plan.idle_us),
            "owners": len(plan.owners),
            "values": len(plan.fields) + (plan.placed is not None),
            "square": SQUARE * plan.squared,
            "width": plan.width,
            "entities": [
                {
                    "events": _told_shape(entity.events),
                    "labels": _told_shape(entity.labels),
                    "first": entity.start + 1,
                    "last": entity.last + 1,
                    "recent": entity.recent + 1,
                    "said": entity.said + 1,
                    "error": entity.error + 1,
                    "unsaid": entity.unsaid,
                    "filtered": inside is not None,
                    "absent": entity.absent,
                }
                for entity, inside in zip(plan.entities, plan.inside, strict=True)
            ],
        }
    )


def packed_home(plan: Plan, shards: int) -> bytes:
    """The plan of a shard that keeps event ids and no entity."""
    nothing = {"owners": 0, "values": 0, "square": 0, "width": 0, "entities": []}
    return msgspec.msgpack.encode({**_memory(plan, shards), "home": True, "dead": plan.memory_us, **nothing})


def _memory(plan: Plan, shards: int) -> dict[str, object]:
    """How long ids are remembered, and where."""
    return {
        "remember": plan.feature_set.remember_us,
        "horizon": plan.feature_set.label_horizon_us,
        "memory": plan.memory_us,
        "epoch": epoch_of(plan),
        "shards": shelves_of(shards),
        "sweep": SWEPT,
    }


def shelves_of(shards: int) -> int:
    """In how many keys each of several shards keeps the ids of an epoch."""
    return -(-SHARDS // shards)


def epoch_of(plan: Plan) -> int:
    """How long an epoch of the store's clock is: ids that came in it are forgotten together."""
    return -(-plan.memory_us // GENERATIONS)


def _told_shape(shape: Shape | None) -> dict[str, object] | bool:
    if shape is None:
        return False
    return {
        "windows": shape.windows,
        "keep": shape.keep_us,
        "idle": shape.idle_us,
        "records": shape.records,
        "unit": shape.unit_us,
        "extremes": shape.extremes,
        "squares": shape.squares,
        "starts": shape.starts,
        "first": shape.first,
        "recent": shape.recent,
        "place": shape.place >= 0 and shape.place + 1,
        "runs": shape.runs,
        "frauds": shape.frauds,
        "fields": shape.fields,
        "asked": [
            [f + 1 for f in range(len(shape.fields)) if (w, f) not in shape.uncounted]
            for w in range(len(shape.windows))
        ],
    }
