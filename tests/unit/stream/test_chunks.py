"""Faust delivered in chunks: fetches, seeks, gaps, rebalances, and how much is in flight."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types.tuples import TP as FaustTP

from stream import marks
from stream.agents import start_by
from stream.attempts import Piece
from stream.chunks import ChunkedConsumer, runs_of
from stream.records import MUCH, MUCH_BYTES, TP, Record
from stream.start import LogExpired, Start

A, B = TP("a", 0), TP("b", 1)


def run(tp, first, count=1, size=1):
    return [Record(tp.topic, tp.partition, first + index, None, b"v" * size, (), 0) for index in range(count)]


def test_runs_keep_the_order_and_are_cut_where_the_partition_changes():
    records = run(A, 0, 2) + run(B, 5, 1) + run(A, 2, 1)
    assert [(tp, [record.offset for record in found]) for tp, found in runs_of(records)] == [
        (A, [0, 1]),
        (B, [5]),
        (A, [2]),
    ]
    assert list(runs_of([])) == []


class Faust:
    """As much of Faust's consumer as the mixin asks for; `fetches` are given one after the other."""

    def __init__(self, *fetches):
        self.fetches = list(fetches)
        self.app = SimpleNamespace(consumer_generation_id=1)
        self.flow_active, self.should_stop = True, False
        self._unacked_messages, self._waiting_for_ack = set(), None
        self._read_offset, self._committed_offset = {}, {}
        self.happened = []

    def assignment(self):
        return {FaustTP(*A), FaustTP(*B)}

    async def _wait_next_records(self, timeout):
        fetch = self.fetches.pop(0) if self.fetches else []
        return (await fetch() if callable(fetch) else fetch), set()

    async def perform_seek(self):
        self.happened.append("sought")
        self._read_offset = {FaustTP(*A): 60, FaustTP(*B): None}
        self._committed_offset = dict(self._read_offset)

    async def earliest_offsets(self, *tps):
        return dict.fromkeys(tps, 5)

    async def highwaters(self, *tps):
        return dict.fromkeys(tps, 100)

    async def seek_wait(self, offsets):
        self.happened.append(offsets)

    async def commit(self):
        self.happened.append(("committed", self._new_offset(FaustTP(*A))))

    async def on_partitions_revoked(self, revoked):
        self.happened.append(("revoked", self._new_offset(FaustTP(*A))))


class Consumer(ChunkedConsumer, Faust):
    def __init__(self, *fetches):
        super().__init__(*fetches)
        self.begin_chunks()

    def _runs(self, fetched):
        return runs_of(fetched)


async def delivered(consumer, during=None):
    """The offsets of one getmany's chunks; `during` is called between messages."""
    found = []
    async for _, message in consumer.getmany(0.01):
        found += [(chunk.first, chunk.last) for chunk in message.value]
        if during:
            during()
    return found


async def taken_from(consumer):
    """The chunks of one getmany."""
    return [chunk async for _, message in consumer.getmany(0.01) for chunk in message.value]


def all_suspected(consumer):
    consumer._attempts = SimpleNamespace(
        pieces=lambda tp, records: [Piece(records, suspected=True)], begin=lambda starts: None
    )


def test_a_fetch_is_one_message_and_its_place_the_last_records():
    async def messages(consumer):
        return [(tp, message) async for tp, message in consumer.getmany(0.01)]

    ((tp, message),) = asyncio.run(messages(Consumer(run(A, 0, 3) + run(B, 4, 2) + run(A, 3, 1))))
    assert (tp, message.tp, message.offset) == (FaustTP(*A), FaustTP(*A), 3)
    assert [(chunk.tp, chunk.first, chunk.last) for chunk in message.value] == [
        (A, 0, 2),
        (B, 4, 5),
        (A, 3, 3),
    ]


def test_what_is_suspected_is_a_message_of_its_own():
    consumer = Consumer(run(A, 0, 6) + run(B, 4, 2))
    consumer._attempts = SimpleNamespace(
        pieces=lambda tp, records: [
            Piece([each], suspected=each.offset == 2) for each in records if each.offset != 4
        ]
    )

    async def sizes():
        return [len(message.value) async for _, message in consumer.getmany(0.01)]

    assert asyncio.run(sizes()) == [2, 1, 3]


def test_what_was_fetched_beside_a_seek_is_read_again():
    consumer = Consumer()

    async def fetch_while_somebody_seeks():
        records = run(A, 100, 5)
        await consumer.perform_seek()
        return records

    consumer.fetches = [fetch_while_somebody_seeks, run(A, 50, 5)]

    async def twice():
        return await delivered(consumer), await delivered(consumer)

    assert asyncio.run(twice()) == ([], [(50, 54)])
    assert consumer.happened == ["sought", "sought"]


def test_what_a_seek_gave_and_nobody_got_is_sought_again():
    """The fetch ends after the seek took hold and before it is over: it holds the new place's records."""
    consumer = Consumer()

    async def slow(self):
        held.set()
        await release.wait()

    async def scenario():
        seeking = asyncio.ensure_future(consumer.perform_seek())
        await held.wait()
        first = await delivered(consumer)
        release.set()
        await seeking
        return first, await delivered(consumer)

    held, release = asyncio.Event(), asyncio.Event()
    consumer.fetches = [run(A, 0, 5), run(A, 0, 5)]
    original = Faust.perform_seek
    Faust.perform_seek = slow
    try:
        assert asyncio.run(scenario()) == ([], [(0, 4)])
    finally:
        Faust.perform_seek = original


def test_after_a_seek_the_chunks_delivered_before_count_no_more():
    consumer = Consumer(run(A, 60, 3))

    async def scenario():
        await consumer.perform_seek()
        held = await taken_from(consumer)
        await consumer.perform_seek()
        held[0].done()

    asyncio.run(scenario())
    assert consumer._new_offset(FaustTP(*A)) is None


def test_a_chunk_knows_what_went_before_it_even_where_offsets_are_missing():
    consumer = Consumer(run(A, 63, 2), run(A, 70, 2) + run(B, 1, 1))

    async def befores():
        await consumer.perform_seek()
        return [
            chunk.before for _ in range(2) for chunk in await taken_from(consumer)
        ], consumer.marks.deliver(TP("c", 0), run(TP("c", 0), 4)).before

    assert asyncio.run(befores()) == ([60, 65, 0], 4)


def test_a_role_may_begin_before_its_commit_and_then_commits_again_what_it_does_again():
    consumer = Consumer(run(A, 20, 2))
    asked = []
    rule = SimpleNamespace(
        offsets=lambda *given: asked.append(given) or {A: 20, B: 0},
        refuse_another_log=lambda *given: asked.append(given),
    )
    start_by(consumer.app, rule)
    assert asyncio.run(delivered_after_a_seek(consumer)) == [(20, 21)]
    assert asked == [({A: 60, B: 0}, {A: 5, B: 5}), ({A: 20, B: 0}, {A: 100, B: 100})]
    assert consumer.happened == ["sought", {FaustTP(*A): 20}]
    assert consumer._committed_offset == {FaustTP(*A): 20, FaustTP(*B): None}


def test_what_the_log_let_go_is_not_sought():
    consumer = Consumer()
    start_by(
        consumer.app, SimpleNamespace(offsets=lambda *_: {A: 2, B: 0}, refuse_another_log=lambda *_: None)
    )
    asyncio.run(consumer.perform_seek())
    assert consumer.happened == ["sought", {FaustTP(*A): 5}]
    assert consumer.marks.deliver(A, run(A, 5)).before == 2


def waits(consumer, moment=0.05):
    """Whether a fetch that may take long is still not begun after a moment; it is ended then."""

    async def check():
        fetches = len(consumer.fetches)
        getting = asyncio.ensure_future(anext(consumer.getmany(60)))
        await asyncio.wait([getting], timeout=moment)
        getting.cancel()
        return len(consumer.fetches) == fetches

    return check()


def test_while_an_agent_has_the_end_of_the_log_in_hand_nothing_is_fetched():
    async def check():
        consumer = Consumer(run(A, 0), run(A, 1), run(A, 2))
        (chunk,) = await taken_from(consumer)
        assert await waits(consumer)
        chunk.take()
        assert await waits(consumer)
        consumer.marks.ask()
        assert await delivered(consumer) == [(1, 1)]

    asyncio.run(check())


def test_an_agent_that_asks_ends_the_wait():
    async def check():
        consumer = Consumer(run(A, 0), run(A, 1))
        await taken_from(consumer)
        getting = asyncio.ensure_future(anext(consumer.getmany(60)))
        await asyncio.sleep(0.01)
        consumer.marks.ask()
        _, message = await asyncio.wait_for(getting, 5)
        assert message.value[0].first == 1

    asyncio.run(check())


def test_an_agent_that_takes_long_is_given_more_after_a_while():
    async def check():
        consumer = Consumer(run(A, 0), run(A, 1))
        await taken_from(consumer)
        assert await delivered(consumer) == [(1, 1)]  # 0.01 s later

    asyncio.run(check())


def test_a_wait_that_ends_as_it_is_cancelled_is_cancelled():
    async def check():
        consumer = Consumer(run(A, 0), run(A, 1))
        await taken_from(consumer)
        waiting = asyncio.create_task(consumer._room(60))
        await asyncio.sleep(0.01)
        consumer.marks.ask()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(check())


@pytest.mark.parametrize(("count", "size"), [(MUCH, 1), (2, MUCH_BYTES // 2)])
def test_in_a_backlog_the_next_fetch_is_not_asked_for(count, size):
    async def check():
        consumer = Consumer(run(A, 0, count, size), run(A, count))
        await taken_from(consumer)
        assert not await waits(consumer)

    asyncio.run(check())


def test_what_faust_may_pass_over_holds_up_no_fetch():
    async def check():
        consumer = Consumer(run(A, 0), run(A, 0))
        await taken_from(consumer)
        await consumer.on_partitions_revoked({FaustTP(*A)})
        await consumer.perform_seek()
        assert not await waits(consumer)

    asyncio.run(check())


class Retained(Consumer):
    """A log that begins somewhere else by the time of a later look."""

    def __init__(self, *fetches, oldest):
        super().__init__(*fetches)
        self.looks = list(oldest)

    async def earliest_offsets(self, *tps):
        return dict.fromkeys(tps, self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])


@pytest.mark.parametrize("accept", [False, True])
def test_a_reader_that_retention_overtook_says_so_and_does_not_go_on_unasked(accept, caplog):
    consumer = Retained(run(A, 60, 2), run(A, 90, 2), oldest=[5, 90])
    start_by(consumer.app, Start(accept_gap=accept))

    async def scenario():
        return await delivered_after_a_seek(consumer), await delivered(consumer)

    if accept:
        assert asyncio.run(scenario()) == ([(60, 61)], [(90, 91)])
        assert "from offset 62 up to 90 left the log" in caplog.text
    else:
        with pytest.raises(LogExpired, match="from offset 62 up to 90 left the log"):
            asyncio.run(scenario())


def test_offsets_that_are_missing_without_retention_are_no_gap():
    consumer = Retained(run(A, 60, 2), run(A, 64, 1), oldest=[5])
    start_by(consumer.app, Start())

    async def scenario():
        return await delivered_after_a_seek(consumer), await delivered(consumer)

    assert asyncio.run(scenario()) == ([(60, 61)], [(64, 64)])


def test_what_was_gone_at_the_start_is_the_start_rules_to_judge():
    consumer = Retained(run(B, 5, 1), oldest=[5])  # of B nothing was ever committed
    start_by(consumer.app, Start())
    assert asyncio.run(delivered_after_a_seek(consumer)) == [(5, 5)]


async def delivered_after_a_seek(consumer):
    await consumer.perform_seek()
    return await delivered(consumer)


def test_a_rebalance_between_two_messages_keeps_the_rest_from_being_delivered():
    consumer = Consumer(run(A, 0, 3) + run(B, 0, 3), run(A, 0, 3))
    all_suspected(consumer)

    def stop():
        consumer.flow_active = False

    async def scenario():
        before = await delivered(consumer, stop)
        consumer.flow_active = True
        return before, await delivered(consumer)

    assert asyncio.run(scenario()) == ([(0, 2)], [(0, 2)])
    assert consumer.happened == ["sought"]


def test_a_failed_seek_is_tried_again():
    consumer = Consumer(run(A, 0, 1))

    async def fail(self):
        raise RuntimeError("the broker is away")

    original = Faust.perform_seek
    Faust.perform_seek = fail
    try:
        with pytest.raises(RuntimeError):
            asyncio.run(consumer.perform_seek())
    finally:
        Faust.perform_seek = original
    asyncio.run(delivered(consumer))
    assert consumer.happened == ["sought"]


def test_a_seek_that_the_groups_next_placing_overtook_ends_nobody_and_delivers_nothing(monkeypatch):
    class PlacedAnewError(Exception):
        pass

    async def fail(self):
        raise PlacedAnewError("no current assignment")

    monkeypatch.setattr(Consumer, "PLACED_ANEW", (PlacedAnewError,))
    consumer = Consumer(run(A, 0, 1), run(A, 0, 1))
    with monkeypatch.context() as patched:
        patched.setattr(Faust, "perform_seek", fail)
        asyncio.run(consumer.perform_seek())
        assert asyncio.run(delivered(consumer)) == []
    assert asyncio.run(delivered(consumer)) == [(0, 0)]
    assert consumer.happened == ["sought"]


def test_partitions_that_go_to_others_are_committed_as_far_as_they_are_done():
    consumer = Consumer(run(A, 0, 3), run(A, 3, 3))

    async def scenario():
        first = await taken_from(consumer)
        second = await taken_from(consumer)
        first[0].done()
        await consumer.on_partitions_revoked({FaustTP(*A)})
        second[0].done()  # too late: somebody else reads it

    asyncio.run(scenario())
    assert consumer.happened == [("committed", 3), ("revoked", None)]  # from here on nothing may be committed
    assert consumer._new_offset(FaustTP(*A)) is None


@pytest.mark.parametrize(("records", "size"), [(marks.IN_FLIGHT, 1), (1, marks.IN_FLIGHT_BYTES)])
def test_nothing_is_fetched_while_agents_have_enough_to_do(records, size):
    consumer = Consumer(run(A, 0, records, size), run(A, records))

    async def scenario():
        held = await taken_from(consumer)
        before = await delivered(consumer)
        waiting = asyncio.ensure_future(delivered(consumer))
        held[0].take()
        return before, await waiting

    assert asyncio.run(scenario()) == ([], [(records, records)])


def test_fausts_acknowledgement_commits_nothing():
    consumer = Consumer(run(A, 0, 3))

    async def scenario():
        async for _, message in consumer.getmany(0.01):
            consumer._unacked_messages.add(message)
            assert consumer.ack(message)
            assert not consumer.ack(message)

    asyncio.run(scenario())
    assert consumer._new_offset(FaustTP(*A)) is None
    assert consumer._filter_tps_with_pending_acks() == []
    assert not consumer._unacked_messages
