"""A key for each person: found or made for a whole batch at once, and dropped within a second of being forgotten.

Keys lie in SQL, wrapped by the master key (``stream.review.people``). A batch of people who are known costs no round trip,
one with unknown ones costs one, one with new ones two. A person's value is sealed once for as long as the key
is in memory: the same bytes stand for it in all decisions of this process.
"""

from __future__ import annotations

import math
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from features.faults import abbreviated
from stream.envelope import Envelopes, PersonKey, fresh_key
from stream.sealing import Sealer, SealError

Pair = tuple[str, str]
"""An entity's name, and a value of it: somebody."""

POLL_SECONDS = 1.0
"""How often those are looked for who were forgotten: so long a worker may go on with a key that is gone.

What it seals in that time nobody can read."""

REMEMBERED = 1 << 16
"""People whose keys stay in memory, at least; at most twice as many."""

NEVER_US = -1


class Held(msgspec.Struct, frozen=True):
    """What is kept of a person."""

    key: bytes | None = None  # wrapped by the master key; None: none, or not any more
    forgotten_us: int = NEVER_US  # when they were forgotten last, by the stream's clock


class Newcomer(msgspec.Struct, frozen=True):
    """Somebody who needs a key, and the one that they get if nobody else was faster."""

    person: str
    key: bytes  # wrapped
    arrived_us: int  # of their newest event


class KeyStore(Protocol):
    """Where people's keys are kept."""

    def find(self, people: Iterable[str]) -> dict[str, Held]:
        """Those of these people of whom anything is known."""
        ...

    def make(self, newcomers: Sequence[Newcomer]) -> dict[str, Held]:
        """Keep keys for people who have none and were not forgotten since their event came; gives what is kept then.

        Of several processes that make a key for one person the first one wins, and all get its key.
        """
        ...

    def forget(self, person: str, at_us: int) -> bool:
        """Delete a person's key, and remember that it was; whether there was one."""
        ...

    def forgotten(self, after: int) -> tuple[int, list[str]]:
        """The number of the newest forgetting, and who was forgotten after the number `after`."""
        ...


class Seal(msgspec.Struct, frozen=True, gc=False):
    """Somebody's key in memory, and their value sealed with it."""

    person: str
    key: bytes | None  # None: they were forgotten, and nothing came from them since
    forgotten_us: int
    text: str = ""  # base64; card numbers are shortened before they are sealed

    def at(self, arrived_us: int) -> PersonKey:
        """The key for what arrived then; of what came before they were forgotten one that nobody has."""
        if self.key is None or arrived_us <= self.forgotten_us:
            return fresh_key(self.person)
        return PersonKey(self.person, self.key)

    def text_at(self, arrived_us: int) -> str:
        """The sealed value for what arrived then; "" for what came before they were forgotten."""
        return self.text if arrived_us > self.forgotten_us else ""


Seals = Mapping[Pair, Seal]
"""Of everybody in a batch."""

NOBODY: Seals = {}


class Keyring:
    """The keys of one process. Not for several threads at once."""

    def __init__(self, store: KeyStore, sealer: Sealer, clock: Callable[[], float] = time.monotonic) -> None:
        """Look into `store` for the forgotten at most every POLL_SECONDS by `clock`."""
        self._store = store
        self._sealer = sealer
        self._envelopes = Envelopes(sealer)
        self._clock = clock
        self._newest = 0
        self._next_poll = -math.inf
        self._young: dict[Pair, Seal] = {}
        self._old: dict[Pair, Seal] = {}

    def seals(self, newest: Mapping[Pair, int]) -> Seals:
        """The seals of everybody in a batch, given the arrival of the newest event of each."""
        if not newest:
            return NOBODY
        if self._clock() >= self._next_poll:
            self._drop_forgotten()
        found: dict[Pair, Seal] = {}
        unknown: dict[Pair, int] = {}
        for pair, arrived_us in newest.items():
            seal = self._young.get(pair) or self._old.get(pair)
            if seal is None or (seal.key is None and arrived_us > seal.forgotten_us):
                unknown[pair] = arrived_us
            else:
                found[pair] = seal
        if unknown:
            found |= self._fetched(unknown)
        self._remember(found)
        return found

    def _drop_forgotten(self) -> None:
        self._newest, people = self._store.forgotten(self._newest)
        for pairs in (self._young, self._old):
            for pair in [pair for pair, seal in pairs.items() if seal.person in people]:
                del pairs[pair]
        self._next_poll = self._clock() + POLL_SECONDS

    def _fetched(self, unknown: Mapping[Pair, int]) -> dict[Pair, Seal]:
        people = {pair: self._sealer.pseudonym(*pair) for pair in unknown}
        held = self._store.find(people.values())
        newcomers = [
            self._newcomer(person, unknown[pair])
            for pair, person in people.items()
            if (known := held.get(person, Held())).key is None and unknown[pair] > known.forgotten_us
        ]
        if newcomers:
            held |= self._store.make(newcomers)
        return {pair: self._sealed(pair, person, held.get(person, Held())) for pair, person in people.items()}

    def _newcomer(self, person: str, arrived_us: int) -> Newcomer:
        return Newcomer(person, self._sealer.wrap(person, fresh_key(person).key), arrived_us)

    def _sealed(self, pair: Pair, person: str, held: Held) -> Seal:
        if held.key is None:
            return Seal(person, None, held.forgotten_us)
        key = PersonKey(person, self._sealer.unwrap(person, held.key))
        sealed = self._envelopes.seal(abbreviated(pair[1]).encode(errors="replace"), [key])
        return Seal(person, key.key, held.forgotten_us, b64encode(sealed).decode())

    def _remember(self, seals: dict[Pair, Seal]) -> None:
        """Those of the last batches are young; when there are many the young become old, and the old leave."""
        self._young.update(seals)
        if len(self._young) > REMEMBERED:
            self._young, self._old = {}, self._young


def opened(store: KeyStore, sealer: Sealer, sealed: Iterable[bytes]) -> Opener:
    """Opens these envelopes: asks for the keys of all their people at once."""
    envelopes = Envelopes(sealer)
    people: set[str] = set()
    for each in sealed:
        with suppress(SealError):  # it is told when that one is opened
            people.update(envelopes.people(each))
    held = store.find(people) if people else {}
    return Opener(envelopes, {p: sealer.unwrap(p, h.key) for p, h in held.items() if h.key is not None})


class Opener:
    """Opens the envelopes of people whose keys it has."""

    def __init__(self, envelopes: Envelopes, keys: Mapping[str, bytes]) -> None:
        """Keys by person."""
        self._envelopes = envelopes
        self._keys = keys

    def open(self, sealed: bytes) -> bytes:
        """What was sealed; raises Forgotten, and SealError for what is no such envelope."""
        return self._envelopes.open(sealed, self._keys)
