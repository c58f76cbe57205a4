"""Nodes of a cluster lose whatever they lose, workers die wherever they die: what every event is answered, and what is counted."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from features import redis_cluster
from features.events import Label
from features.redis_cluster import ClusterFeatureStore
from features.redis_store import SCRIPT
from features.store import InMemoryFeatureStore, Run, Source, Status, StoreBehind
from tests.contract.cluster import PROBES, Died, dying, payments, said
from tests.contract.schedules import feature_set, label, schedules, transaction, unnumbered

ALL, KEY = feature_set(), b"a key for digests"
PREFIXES = (f"losses{number}" for number in itertools.count())
TROUBLES = 3
STRETCHES = (1, 2, 4, 15, 2500)
KNOWN = {
    Status.FRESH: Status.DUPLICATE,
    Status.LABELLED: Status.LABEL_DUPLICATE,
    Status.LABEL_PENDING: Status.LABEL_DUPLICATE,
}
"""What is said of something that was applied already, and is answered as it was the first time."""


class Worker:
    """Applies a schedule that lies in two topics, and begins again where the store is behind, or it died.

    It goes on from the lower of what the store holds and of what it has answers of, as every worker does.
    """

    def __init__(self, cluster, schedule):
        self._cluster, self._prefix = cluster, next(PREFIXES)
        self._url, self._pattern = f"{cluster.url}?shards=4", f"{{{self._prefix}:*"
        self._schedule = schedule
        self._topics = ["labels" if isinstance(each, Label) else "transactions" for each in schedule]
        self._offsets = [self._topics[:at].count(topic) for at, topic in enumerate(self._topics)]
        self._states = [self._dump()]
        self.answers, self.unheard = (
            {},
            {},
        )  # unheard: where batches ended that held an event and told nothing of it
        self._begin()

    def _begin(self):
        self._trouble = None
        self.store = ClusterFeatureStore(self._url, ALL, prefix=self._prefix, hash_key=KEY)
        self._trip, self.store._nodes.trip = self.store._nodes.trip, self._troubled
        self._trips = itertools.count()
        held = self.store.positions()
        self._held = {topic: self._from(topic, held.get((topic, 0), 0)) for topic in {*self._topics}}
        self.todo = [at for at, topic in enumerate(self._topics) if self._offsets[at] >= self._held[topic]]

    def _from(self, topic, held):
        waiting = (
            self._offsets[at]
            for at, each in enumerate(self._topics)
            if each == topic and at not in self.answers
        )
        return min(held, next(waiting, held))

    def _dump(self):
        return self._cluster.dump(self._pattern)

    def fall_back(self, back, nodes):
        """Some nodes are again as they were so many batches ago; no later state comes back."""
        del self._states[len(self._states) - back % len(self._states) :]
        self._cluster.put_back(self._pattern, self._states[-1], sorted(nodes))

    def _troubled(self, asked):
        trip, trouble = next(self._trips), self._trouble
        if trouble is None or trouble[0] != trip:
            return self._trip(asked)
        _, back, nodes, calls = trouble
        if calls is None:
            state = self._states[-1 - back % len(self._states)]
            self._cluster.put_back(self._pattern, state, sorted(nodes))
            return self._trip(asked)
        self._trip([each if at in calls else (each[0], []) for at, each in enumerate(asked)])
        raise Died

    def step(self, size, in_line, trouble):
        """Apply some batches, all but the first of which wait in line; trouble comes with the trip that it names."""
        parts = [self.todo[size * at : size * at + size] for at in range(1 + in_line)]
        parts = [part for part in parts if part]
        self._trouble, self._trips, held = trouble, itertools.count(), dict(self._held)
        batches = [self.store.batch(self._runs(part, held)) for part in parts]
        try:
            for batch, part in zip(batches, parts, strict=True):
                batch.apply()
                self._hear(part, batch.answers())
        except (StoreBehind, Died):
            for at, part in itertools.product(itertools.chain(*parts), parts):
                if at <= part[-1]:
                    self.unheard.setdefault(at, set()).add(part[-1] + 1)
            self.store.close()
            self._begin()

    def _hear(self, part, told):
        for at, answer in zip(part, unnumbered(told), strict=True):
            self.answers.setdefault(at, (answer, frozenset(self.unheard.get(at, ()))))
            self._held[self._topics[at]] = self._offsets[at] + 1
        self.todo = self.todo[len(part) :]
        self._states.append(self._dump())

    def _runs(self, part, held):
        runs = []
        for topic, some in itertools.groupby(part, self._topics.__getitem__):
            places = list(some)
            offsets = [self._offsets[at] for at in places]
            source = Source(topic, 0, held[topic], offsets[-1] + 1, offsets)
            runs.append(Run([self._schedule[at] for at in places], source))
            held[topic] = source.after
        return runs


def asked_again(schedule, at, end):
    """What a store that lost nothing and has applied all up to `end` says of an event that is read again."""
    store = InMemoryFeatureStore(ALL)
    store.apply(schedule[:end], Source("t", 0, 0, end, range(end)))
    return unnumbered(store.apply([schedule[at]], Source("t", 0, at, at + 1, [at])))[0]


def by_entity(vector):
    """The bytes of an answer's features, by whose they are: an event's entities live in different shards."""
    found = {}
    for at, name in enumerate(ALL.names):
        owner = name.partition("_")[0]
        found.setdefault(owner if owner in ALL.entities else "", []).append(vector[8 * at : 8 * at + 8])
    return found if vector else {}


def unlike(schedule, at, answer, unheard, expected):
    """Whether an answer is another than that of a store that lost nothing.

    Where it was asked before and nobody heard what it said, it may have been asked twice: then it says so, and what it does
    not remember, as of an event that is late, is as of the second time, in those shards that had applied it the first time.
    """
    if answer == expected:
        return False
    known = (KNOWN.get(expected[0], expected[0]), *expected[1:])
    may_be = [expected, known, *(asked_again(schedule, at, end) for end in unheard)] if unheard else []
    if answer[0] not in {each[0] for each in may_be}:
        return True
    told, parts = by_entity(answer[1]), [by_entity(each[1]) for each in may_be]
    return any(all(each.get(owner) != of_it for each in parts) for owner, of_it in told.items())


NODES = st.sets(st.integers(0, 2), min_size=1)
IN_A_TRIP = st.tuples(st.integers(0, 2), st.integers(0, 2), NODES, st.none() | st.sets(st.integers(0, 7)))
"""In which trip; a loss (how many batches back, of which nodes), or a death (which calls came through)."""


def run(cluster, schedule, draw):
    """A schedule with trouble, and what came of it that should not have."""
    worker, left = Worker(cluster, schedule), TROUBLES
    while worker.todo:
        trouble = None
        if left and draw(st.booleans()):
            left -= 1
            worker.fall_back(draw(st.integers(0, 30)), draw(NODES))
        elif left and draw(st.booleans()):
            left -= 1
            trouble = draw(IN_A_TRIP)
        worker.step(draw(st.integers(1, 9)), draw(st.booleans()), trouble)
    worker.store.close()
    whole = unnumbered(InMemoryFeatureStore(ALL).apply(schedule))
    return [
        (at, *worker.answers[at], whole[at])
        for at in range(len(schedule))
        if unlike(schedule, at, *worker.answers[at], whole[at])
    ]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), schedule=schedules(STRETCHES))
def test_whatever_node_loses_whatever_every_event_gets_the_answer_of_a_store_that_lost_nothing(
    cluster, data, schedule
):
    """Between any two batches, and in the middle of any, nodes may fall back to any earlier state, or the worker may die."""
    assert run(cluster, schedule, data.draw) == []


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(data=st.data(), schedule=schedules(STRETCHES))
def test_the_same_of_many_schedules(cluster, data, schedule):
    assert run(cluster, schedule, data.draw) == []


MUCH_LATER = 10_000
"""Long after ids that came in the first minutes are forgotten."""


@pytest.fixture
def pattern():
    """Of the keys of this test's stores."""
    return f"{{{next(PREFIXES)}:*"


@pytest.fixture
def open_store(cluster, pattern):
    """Opens stores of one prefix."""
    opened = []

    def make():
        url, prefix = f"{cluster.url}?shards=8", pattern[1:-2]
        opened.append(ClusterFeatureStore(url, ALL, prefix=prefix, hash_key=KEY))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


class Log:
    """Batches one behind the other in one topic, applied to a store on a cluster and to one that loses nothing."""

    def __init__(self, open_store, cluster, pattern):
        self._open, self._cluster, self._pattern = open_store, cluster, pattern
        self.store, self.whole, self.batches, self.states = open_store(), InMemoryFeatureStore(ALL), [], []

    def apply(self, *batches):
        for batch in batches:
            self.states.append(self._cluster.dump(self._pattern))
            self.batches.append(batch)
            assert unnumbered(self._apply(len(self.batches) - 1)) == unnumbered(self.whole.apply(batch))

    def _apply(self, at):
        before = sum(map(len, self.batches[:at]))
        after = before + len(self.batches[at])
        return self.store.apply(self.batches[at], Source("t", 0, before, after, range(before, after)))

    def read_again_without(self, node, from_batch):
        """A node is as it was before a batch, and what it lost is read again; everything is known as if nothing had been."""
        self._cluster.put_back(self._pattern, self.states[from_batch], [node])
        self.store = self._open()
        assert self.store.positions().get(("t", 0), 0) == sum(map(len, self.batches[:from_batch]))
        for at in range(from_batch, len(self.batches)):
            self._apply(at)
        assert unnumbered(self.store.apply(PROBES)) == unnumbered(self.whole.apply(PROBES))


@pytest.fixture
def log(open_store, cluster, pattern):
    return Log(open_store, cluster, pattern)


def others(batch, body=b"another0"):
    """The same ids for another content, of other cards and shops."""
    return [
        transaction(f"t{at}", at / 10, body=body, entities=(f"card {(at + 5) % 13}", f"shop {(at + 3) % 7}"))
        for at in range(len(batch))
    ]


def much_later(number=1):
    """Something that moves the clock far beyond the memory of ids."""
    return [transaction(f"new {number}", number * MUCH_LATER, entities=("", ""))]


def forgotten():
    """So many batches that what is forgotten by then has left."""
    return [[transaction(f"end {at}", MUCH_LATER, entities=("", ""))] for at in range(20)]


NODE = pytest.mark.parametrize("node", range(3))


@NODE
def test_what_was_refused_is_refused_when_it_is_read_again_long_after(log, node):
    """Its home has forgotten whose the id was; what it refused it has not."""
    batch = payments(0, 60)
    log.apply(batch, others(batch), *forgotten())
    log.read_again_without(node, 0)


@NODE
def test_an_id_that_is_another_s_by_now_counts_where_its_first_use_was_lost(log, node):
    later = [
        transaction(f"t{at}", MUCH_LATER, body=b"another0", entities=(f"c {at}", f"s {at}"))
        for at in range(60)
    ]
    log.apply(payments(0, 60), later, *forgotten())
    log.read_again_without(node, 0)


@NODE
def test_a_label_counts_where_it_was_lost_though_its_event_is_older_than_ids_are_remembered(log, node):
    """The event's home knows it no more; the shard that lost the label does."""
    verdicts = [label(f"l{at}", f"t{at}", 10.5, at % 3 == 0) for at in range(60)]
    log.apply(payments(0, 60), verdicts, *forgotten())
    log.read_again_without(node, 1)


@NODE
def test_a_label_that_came_first_follows_its_event_to_a_shard_that_lost_it_long_ago(log, node):
    log.apply(said(0, 60), payments(0, 60), *forgotten())
    log.read_again_without(node, 1)


@NODE
def test_a_label_of_an_id_that_is_another_s_by_now_counts_for_the_first(log, node):
    later = [
        transaction(f"t{at}", 105 + at / 10, body=b"another0", entities=(f"c {at}", f"s {at}"))
        for at in range(60)
    ]
    verdicts = [label(f"l{at}", f"t{at}", 70, at % 3 == 0) for at in range(60)]
    log.apply(payments(0, 60), verdicts, later, *forgotten())
    log.read_again_without(node, 0)


@pytest.mark.parametrize("done", [set(), {0, 3, 5}, set(range(8))])
@pytest.mark.parametrize("trip", [0, 1])
def test_a_batch_that_spans_more_than_ids_are_remembered_gets_its_first_answers_though_it_came_through_by_halves(
    open_store, monkeypatch, trip, done
):
    """What moved the clock by days has not forgotten what was before it in the batch, until somebody has the answer."""
    batch = [*payments(0, 60), *said(0, 60), *much_later(1), *payments(60, 70), *much_later(2)]
    source = Source("t", 0, 0, len(batch), range(len(batch)))
    first = open_store()
    dying(first, monkeypatch, trip, done)
    with pytest.raises(Died):
        first.apply(batch, source)
    again, whole = open_store().apply(batch, source), InMemoryFeatureStore(ALL)
    once = whole.apply(batch)
    for at, (answer, expected) in enumerate(zip(unnumbered(again), unnumbered(once), strict=True)):
        assert answer[0] in {expected[0], KNOWN.get(expected[0])}, at
        assert answer[1:] == expected[1:], at


def test_ids_leave_once_their_answers_came(cluster, pattern, open_store):
    """What was kept for whoever might ask again is no more than a memory's worth."""
    store, held = open_store(), []
    for step in range(300):
        batch = [transaction(f"{step} {at}", 2 * step, entities=("", "")) for at in range(4)]
        store.apply(batch, Source("t", 0, 4 * step, 4 * step + 4))
        if step % 100 == 99:
            held.append(len(cluster.dump(pattern)))
    assert held[2] < 1.5 * held[0]


def test_another_label_of_the_same_id_does_not_go_before_the_one_that_its_home_knows(open_store, monkeypatch):
    first, whole = open_store(), InMemoryFeatureStore(ALL)
    early, again = ([label(f"l{at}", f"t{at}", arrived, True) for at in range(30)] for arrived in (5, 2))
    batch = [*again, *payments(0, 30)]
    first.apply(early, Source("t", 0, 0, 30, range(30)))
    dying(first, monkeypatch, 1, set())
    with pytest.raises(Died):
        first.apply(batch, Source("t", 0, 30, 90, range(30, 90)))
    second = open_store()
    second.apply(batch, Source("t", 0, 30, 90, range(30, 90)))
    whole.apply([*early, *batch])
    assert unnumbered(second.apply(PROBES)) == unnumbered(whole.apply(PROBES))


def test_a_home_keeps_no_more_of_what_it_refused_than_it_may(cluster, pattern, open_store, monkeypatch):
    """No producer whose ids are none fills it; what is dropped is the oldest."""
    monkeypatch.setattr(redis_cluster, "SCRIPT", SCRIPT.replace("NOTES = 10000", "NOTES = 3"))
    store, batch = open_store(), payments(0, 60)
    refused = others(batch)
    store.apply([*batch, *refused], Source("t", 0, 0, 120, range(120)))
    keys = {key for _, key in cluster.dump(pattern) if key.endswith(b"}x")}
    kept = [cluster.node_of(key_slot(key)).client().hgetall(key) for key in keys]
    assert max(len(each) for each in kept) == 7  # three, when each of them came, and how many there were
