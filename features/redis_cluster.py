"""The feature store on a Redis Cluster: one pipelined round trip to every node and one script call to every slot a batch.

A batch takes two steps, its homes and its shards; while batches wait in line, the first step of the next one goes with the
second of the one before it. Only a batch that comes alone, as where little flows, takes two round trips.

How a batch falls to shards and becomes one answer again is in shards.py; each shard runs the script of ``redis_store``, in
a slot of its own. The shards of a cluster are as many for as long as the state lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from weakref import ref

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import NoScriptError

from features.by_batch import ByBatch
from features.calls import Call
from features.catalogue import FeatureSet
from features.compute import Plan
from features.packing import SEQ, Packer, Unpacker, packed_home, packed_plan, shelves_of
from features.redis_nodes import Nodes
from features.redis_patience import Patience, shown
from features.redis_states import Asked, Carries, Command, StatesInRedis, literal, pairs, positions_of
from features.redis_store import (
    ANSWER_WITHIN_S,
    CALL,
    SCANNED,
    SCRIPT,
    arguments,
    base_key,
    logs_of,
    refuse_eviction,
    told_behind,
)
from features.shards import NEVER, SETTLED, TIME, Dealt, Item, Merger, Shards, Told
from features.store import Applied, Run, StoreUnavailable

SHARDS = 16
"""So many nodes can share the work: a shard lies on one. ``?shards=32`` in WEIR_REDIS asks for others, at the first start."""

MOST = 256
CANARY = b"!"
"""Behind a base key: a key that never exists.

A script names two keys: its shard's base and this one. What else it touches begins with the base, so it lies in the same slot,
which is all that a cluster asks of a script's other keys: their node is the base's. While a slot is moved key by key, though,
some of them are on the one node and some on the other, and a script would break off half done. A node runs no command of which
one key is here and one is not (TRYAGAIN); with a key that is nowhere that holds until the slot has arrived whole.
"""


class ClusterFeatureStore(StatesInRedis, ByBatch):
    """Features that live in a Redis Cluster, shared by all processes that name the same prefix and key.

    Where applying raises, some shards may have applied what others have not: applying it again is the mend.
    """

    def __init__(self, url: str, feature_set: FeatureSet, *, prefix: str, hash_key: bytes) -> None:
        """`url` is ``redis+cluster://HOST:PORT[,HOST:PORT]`` (``rediss+cluster://`` with TLS): some of the nodes.

        Raises StoreUnavailable as RedisFeatureStore does, and where the state is of another number of shards.
        """
        self._url, count = url, shards_in(url)
        self._prefix = prefix
        self._plan = Plan(feature_set)
        self._packer = Packer(self._plan, hash_key)
        self._shards = Shards(self._plan, self._packer, count)
        self._merge = Merger(self._plan, Unpacker(self._plan), count)
        self.took: Callable[[float], None] = lambda seconds: None  # told how long each answer took
        self._patiently = Patience(self._url, lambda seconds: self.took(seconds))
        self._nodes = Nodes(self._url, ANSWER_WITHIN_S)
        homes, shards = shard_keys(prefix, feature_set, count)
        self._homes = Group(homes, packed_home(self._plan, count), [0] * count)
        self._entities = Group(shards, packed_plan(self._plan, count), [0] * count)
        self._begin_carrying(self._entities.plan, shelves_of(count))
        self._start = base_key(prefix, feature_set).removesuffix(b"}")
        self._settled = NEVER  # up to which clock all that this client sent was applied everywhere
        self._line: deque[ref[Spread]] = deque()  # batches that wait to be applied, in their order
        self._sha = ""
        self._patiently(self._load)
        self._patiently(lambda: self._refuse_another(base_key(prefix, feature_set), count))

    @property
    def url(self) -> str:
        """Where the cluster is; it may hold a password."""
        return self._url

    def batch(self, runs: Sequence[Run]) -> Spread:
        """Runs packed for the script."""
        carries = self._carries
        items = self._shards.items(runs, carries.whose if carries else None)
        batch = Spread(self, runs, items, self._shards.claims(runs, items, CALL), carries)
        self._line.append(ref(batch))
        return batch

    def apply_batch(self, batch: Spread) -> None:
        """Both steps of a batch, as far as they are to be done; and the first one of the batch that waits behind it."""
        if batch.homes is None:
            (replies,) = self._patiently(lambda: self._sent([(self._homes, batch.claims)]))
            batch.homes = self._homes_told(batch, replies)
        following = self._behind(batch)
        batch.dealt = self._shards.entities(batch.runs, batch.items, batch.homes, CALL)
        entities = self._entities._replace(plan=batch.carries.plan) if batch.carries else self._entities
        sending = [(entities, batch.dealt)]
        if following is not None and following.homes is None:
            sending.append((self._homes, following.claims))
        waiting = self._taken()
        with self._back_if_it_fails(waiting):
            batch.replies, *ahead = self._patiently(lambda: self._sent(sending, self._written(waiting)))
        self._settled = max([self._settled, *(item.clock_us for item in batch.items[-1:])])
        if (
            following is not None
            and ahead
            and not any(isinstance(each, Exception) for each in _flat(ahead[0]))
        ):
            following.homes = self._homes_told(following, ahead[0])

    def _behind(self, batch: Spread) -> Spread | None:
        """The batch that was made behind this one; what was made before it is out of the line."""
        line = [each() for each in self._line]
        if batch not in line:
            return None
        for _ in range(line.index(batch) + 1):
            self._line.popleft()
        return next((each for each in line[line.index(batch) + 1 :] if each is not None), None)

    def _homes_told(self, batch: Spread, replies: Sequence[Sequence[bytes]]) -> list[Told]:
        return self._merge.homes(batch.items, batch.claims, replies)

    def merged(self, batch: Spread) -> list[Applied]:
        """What both steps say of each event."""
        events, carried = [event for run in batch.runs for event in run.events], batch.carries is not None
        answers = self._merge(events, batch.homes or (), batch.dealt, batch.replies, carried=carried)
        if carried:
            self.remember(events, [item.packed for item in batch.items], answers)
        return answers

    def positions(self) -> dict[tuple[str, int], int]:
        """By topic and partition: the offset behind the last that every home and every shard has applied."""
        bases = [*self._homes.bases, *self._entities.bases]
        asked = [(base, [("GETRANGE", base, 0, SEQ.size - 1), ("HGETALL", base + b"p")]) for base in bases]
        replies = self._patiently(lambda: _well(self._nodes.trip(asked)))
        seen = [int(SEQ.unpack_from(meta)[0]) if meta else 0 for meta, _ in replies]
        self._homes.seen[:], self._entities.seen[:] = seen[: self._shards.count], seen[self._shards.count :]
        held = [positions_of(pairs(told)) for _, told in replies]
        self._settled = NEVER
        everywhere = set.intersection(*map(set, held))
        return {place: min(each[place] for each in held) for place in everywhere}

    def forget(self, entity: str, value: str) -> bool:
        """Drop what is known of one value of an entity, in every feature set under the prefix; whether anything was.

        Looks at every key of the cluster, since other sets have other keys: a second for each million or so.
        """
        self._plan.index_of(entity)
        pattern = logs_of(self._prefix, self._packer.digest(entity, value))
        return self._unlink(list(self._keys(pattern))) > 0

    def close(self) -> None:
        """Close the connections; the state stays in Redis."""
        self._nodes.close()

    def _bases(self) -> Sequence[bytes]:
        return self._entities.bases

    def _base_of(self, digest: bytes) -> bytes:
        return self._entities.bases[self._shards.of(digest)]

    def _anywhere(self) -> bytes:
        return literal(self._start) + b":*}"

    def _told(self, asked: Sequence[Asked]) -> list[list[Any]]:
        return self._patiently(lambda: _well(self._nodes.trip(asked)))

    def _call(self, base: bytes, script: str, *arguments: Any) -> Command:
        return ("EVAL", script, 2, base, base + CANARY, *arguments)

    def _keys(self, pattern: bytes) -> Iterator[bytes]:
        found = self._patiently(lambda: self._nodes.each(lambda node: list(node.scan_iter(pattern, SCANNED))))
        return iter({key for some in found for key in some})

    def _unlink(self, keys: Sequence[bytes]) -> int:
        return sum(count for (count,) in self._told([(key, [("UNLINK", key)]) for key in keys]))

    def _sent(
        self, sending: Sequence[tuple[Group, Dealt]], written: Sequence[Asked] = ()
    ) -> list[list[list[bytes]]]:
        """The replies to several deals, in one round trip; `written` goes ahead of them.

        Raises what is wrong with that or with the first deal; the others may hold errors.
        """
        asked = [*written] + [
            (base, self._commands(group, at, dealt.calls[at]))
            for group, dealt in sending
            for at, base in enumerate(group.bases)
        ]
        replies = self._nodes.trip(asked)
        if any(isinstance(each, NoScriptError) for each in _flat(replies)):  # a node was restarted
            self._load()
            replies = self._nodes.trip(asked)
        self._count(_flat(replies[: len(written)]))
        replies = replies[len(written) :]
        count = self._shards.count
        told = [replies[at : at + count] for at in range(0, len(replies), count)]
        for calls, some in zip(sending[0][1].calls, told[0], strict=True):
            for call, reply in zip(calls, some, strict=True):
                if isinstance(reply, Exception):
                    raise told_behind(reply, call) or reply
        for (group, _), each in zip(sending, told, strict=True):
            group.saw(each)
        return told

    def _commands(self, group: Group, at: int, calls: Sequence[Call[bytes]]) -> list[tuple[Any, ...]]:
        base, seen = group.bases[at], group.seen[at]
        keys = (2, base, base + CANARY)
        settled = SETTLED + TIME.pack(self._settled)
        return [("EVALSHA", self._sha, *keys, group.plan, *arguments(call, seen, settled)) for call in calls]

    def _load(self) -> None:
        def load(node: redis.Redis) -> str:
            refuse_eviction(node, shown(self._url))
            return str(node.script_load(SCRIPT))

        (self._sha,) = set(self._nodes.each(load))

    def _refuse_another(self, base: bytes, count: int) -> None:
        key = base + b"n"
        ((_, kept),) = _well(self._nodes.trip([(key, [("SET", key, count, "NX"), ("GET", key)])]))
        if int(kept) != count:
            raise StoreUnavailable(
                f"the features in the Redis Cluster at {shown(self._url)} lie in {int(kept)} shards, not in {count}, and "
                f"that cannot be changed: say ?shards={int(kept)} in WEIR_REDIS, or begin anew under another WEIR_TOPIC_PREFIX"
            )


class Group(NamedTuple):
    """All homes, or all shards of entities."""

    bases: Sequence[bytes]
    plan: bytes
    seen: list[int]  # by number the highest seq that each told: it cannot hold less

    def saw(self, replies: Sequence[Sequence[Any]]) -> None:
        """Remember what they told."""
        for at, some in enumerate(replies):
            told = [int(SEQ.unpack_from(each)[0]) for each in some if not isinstance(each, Exception)]
            self.seen[at] = max([self.seen[at], *told])


class Spread:
    """A batch that is packed, then applied, then understood: the servers work on another one meanwhile."""

    def __init__(
        self,
        store: ClusterFeatureStore,
        runs: Sequence[Run],
        items: Sequence[Item],
        claims: Dealt,
        carries: Carries | None,
    ) -> None:
        """Nothing is sent yet."""
        self._store, self.carries = store, carries
        self.runs, self.items, self.claims = runs, items, claims
        self.homes: list[Told] | None = None  # what they told, once its ids are claimed
        self.dealt, self.replies = Dealt([], []), list[list[bytes]]()

    def apply(self) -> None:
        """Send it, and wait for the replies."""
        self._store.apply_batch(self)

    def answers(self) -> list[Applied]:
        """What became of each event."""
        return self._store.merged(self)


def shards_in(url: str) -> int:
    """How many shards an address asks for. Raises StoreUnavailable for a number that cannot be.

    >>> shards_in("redis+cluster://host:7000?shards=32&ssl_cert_reqs=none"), shards_in("redis+cluster://host:7000")
    (32, 16)
    """
    pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    (text,) = [value for name, value in pairs if name == "shards"][-1:] or [str(SHARDS)]
    count = int(text) if text.isdecimal() else 0
    if not 2 <= count <= MOST or count & (count - 1):
        raise StoreUnavailable(f"?shards={text} in WEIR_REDIS must be a power of two, 2 to {MOST}")
    return count


def shard_keys(prefix: str, feature_set: FeatureSet, count: int) -> tuple[list[bytes], list[bytes]]:
    """The base keys of the homes and of the shards: each in a slot of its own, all spread evenly over the slots."""
    start = base_key(prefix, feature_set).removesuffix(b"}")
    keys = [_in_range(start + b":%d.%d" % (count, at), at, 2 * count) for at in range(2 * count)]
    return keys[1::2], keys[::2]


def _in_range(start: bytes, at: int, of: int) -> bytes:
    """A key in the part `at` of as many equal parts of the slots: the first of a row of them."""
    tried = 0
    while True:
        key = start + b".%d}" % tried
        if key_slot(key) * of // REDIS_CLUSTER_HASH_SLOTS == at:
            return key
        tried += 1


def _flat(replies: Sequence[Sequence[Any]]) -> Iterator[Any]:
    return (each for some in replies for each in some)


def _well(replies: list[list[Any]]) -> list[list[Any]]:
    """Replies of which none is an error."""
    for reply in _flat(replies):
        if isinstance(reply, Exception):
            raise reply
    return replies
