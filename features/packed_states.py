"""How states of networks look to the store's scripts: packed bytes in, what an answer carries out. No driver, any thread."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from features.carried import UNTOLD, Carried, Carrying, Kept, idle_us
from features.compute import Plan
from features.ids import tie_of
from features.states import NOTHING, Told

KEPT = struct.Struct("<B16sddIII")
"""Of a state that is written back: length of the network's id, digest, marks, tie of the last event, how many answers and bytes."""

ANSWER = struct.Struct("<16sdd")
"""Id, number (0: it is to be looked up) and answer of an event."""

ZERO = float.fromhex("0x0.0000000000001p-1022")
"""The least that is more than nothing, which a network may answer, stands for 0: all bits zero stand for no answer."""

HEAD = 28
"""Bytes before those of a state."""

FILLED = struct.Struct("<16sI")
SHOWN = struct.Struct("<dI")
AGAIN = struct.Struct("<Hd")
LENGTH = struct.Struct("<I")
COUNT = struct.Struct("<H")

SLICE = 200
"""States that are laid down in one piece, which is brought to its place in one step: 1 ms."""

SLICE_BYTES = 1 << 17


def carried_plan(plan: Plan, packed: bytes, carrying: Carrying) -> bytes:
    """A packed plan of a script that tells what a network carries."""
    settings = {"network": carrying.network, "idle": idle_us(plan, carrying.entity)}
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(packed), "carried": settings})


def packed_kept(network: str, digest: bytes, kept: Kept, known: Iterable[tuple[bytes, int]]) -> bytes:
    """A state that is written back; of the events between, what stands for their ids, and their numbers."""
    answers = [ANSWER.pack(*each, said or ZERO) for each, (_, said) in zip(known, kept.answers, strict=True)]
    tie = tie_of(kept.answers[-1][0]) if answers else 0
    sizes = len(answers), len(kept.state)
    head = KEPT.pack(len(network), digest, kept.before, kept.after, tie, *sizes)
    return b"".join([head, network.encode(), *answers, kept.state])


def slices(states: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """States by their digests, in pieces that are laid down one by one."""
    left = iter(states)
    while some := list(islice(left, SLICE)):
        piece, size = list[bytes](), 0
        for digest, state in some:
            if size + len(state) > SLICE_BYTES and piece:
                yield b"".join(piece)
                piece, size = [], 0
            piece.append(FILLED.pack(digest, len(state)) + state)
            size += len(state)
        yield b"".join(piece)


def parted(reply: bytes) -> tuple[memoryview, memoryview]:
    """A reply's answers, and what is told of states behind them."""
    whole = memoryview(reply)
    (length,) = LENGTH.unpack_from(whole, len(whole) - LENGTH.size)
    end = len(whole) - LENGTH.size
    return whole[: end - length], whole[end - length : end]


def carried_of(behind: memoryview, seqs: Sequence[int]) -> list[Told]:
    """What the answers of one call have of a network; `seqs` are theirs."""
    of = struct.unpack_from(f"<{len(seqs)}H", behind)
    at = COUNT.size * len(seqs)
    (again,) = COUNT.unpack_from(behind, at)
    at += COUNT.size
    told = {
        place: 0.0 if said == ZERO else said
        for place, said in AGAIN.iter_unpack(behind[at : at + AGAIN.size * again])
    }
    shown = _shown(behind, at + AGAIN.size * again)
    if not told:
        return [(shown[each], UNTOLD, seq) if each else NOTHING for each, seq in zip(of, seqs, strict=True)]
    return [
        (shown[each], told.get(place, UNTOLD), seq) if each else NOTHING
        for place, (each, seq) in enumerate(zip(of, seqs, strict=True))
    ]


def _shown(behind: memoryview, at: int) -> list[Carried]:
    """What is told of states, the first behind one that stands for none."""
    shown = [Carried(0, b"")]
    while at < len(behind):
        mark, length = SHOWN.unpack_from(behind, at)
        at += SHOWN.size
        shown.append(Carried(int(mark), bytes(behind[at + HEAD : at + length])))
        at += length
    return shown
