"""What of several partitions is taken in hand at once, and what is not."""

import asyncio
from types import SimpleNamespace

from stream import chunks
from stream.marks import Marks
from stream.records import TP, Record
from tests.unit.stream.test_chunks import A, B, run


class Stream:
    """A stream of chunks as Faust's: what waits in its buffer comes at once, more when it is put there."""

    def __init__(self, *sizes):
        self.queue = asyncio.Queue()
        self.channel = SimpleNamespace(queue=self.queue)
        self.passed_over = 0
        self.marks = Marks()
        for first, size in enumerate(sizes):
            self.put(first, size)

    def put(self, first, size):
        tp = TP("a", first)
        self.queue.put_nowait([self.marks.deliver(tp, run(tp, 0, size))])

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        delivered = await self.queue.get()
        if self.passed_over:
            self.passed_over -= 1
            return await self.__anext__()
        if delivered is None:
            raise StopAsyncIteration
        return delivered


def partitions(batch):
    return [chunk.tp.partition for chunk in batch]


def test_a_batch_is_what_all_partitions_have_ready():
    async def check():
        taking = chunks.batches(stream := Stream(2, 1, 3))
        assert partitions(await anext(taking)) == [0, 1, 2]
        stream.put(7, 1)
        assert partitions(await anext(taking)) == [7]
        later = asyncio.ensure_future(anext(taking))
        await asyncio.sleep(0.02)
        assert not later.done()
        stream.put(8, 1)
        assert partitions(await later) == [8]

    asyncio.run(check())


def test_an_agent_asks_for_more_once_it_is_back_and_nothing_waits():
    async def check():
        taking = chunks.batches(stream := Stream(1))
        stream.marks.serve(stream.queue._queue[0])
        await anext(taking)
        assert not stream.marks.asked
        stream.put(2, 1)
        await anext(taking)
        assert not stream.marks.asked  # it found something
        later = asyncio.ensure_future(anext(taking))
        await asyncio.sleep(0.02)
        assert stream.marks.asked
        later.cancel()

    asyncio.run(check())


def test_an_agent_that_takes_chunk_by_chunk_asks_behind_the_last_of_a_fetch():
    async def check():
        taking = chunks.chunks(stream := Stream())
        fetched = [stream.marks.deliver(TP("a", part), run(TP("a", part), 0)) for part in (0, 1)]
        stream.queue.put_nowait(fetched)
        stream.marks.serve(fetched)
        await anext(taking)
        await anext(taking)
        assert not stream.marks.asked
        later = asyncio.ensure_future(anext(taking))
        await asyncio.sleep(0.02)
        assert stream.marks.asked
        later.cancel()

    asyncio.run(check())


def test_a_batch_takes_no_further_chunk_once_it_has_enough_records():
    async def check():
        taking = chunks.batches(Stream(chunks.BATCH - 1, 5, 1))
        assert partitions(await anext(taking)) == [0, 1]
        assert partitions(await anext(taking)) == [2]

    asyncio.run(check())


def test_a_reader_says_how_many_records_are_enough_for_it():
    async def check():
        taking = chunks.batches(Stream(3, 2, 5, 1), 6)
        assert partitions(await anext(taking)) == [0, 1, 2]
        assert partitions(await anext(taking)) == [3]

    asyncio.run(check())


def test_a_batch_goes_out_when_faust_passes_over_what_lies_in_its_buffer():
    async def check():
        taking = chunks.batches(stream := Stream(1, 1))
        first = asyncio.ensure_future(anext(taking))
        while stream.queue.qsize() > 1:
            await asyncio.sleep(0)
        stream.passed_over = 1
        assert partitions(await asyncio.wait_for(first, 1)) == [0]
        stream.put(2, 1)
        assert partitions(await anext(taking)) == [2]

    asyncio.run(check())


def test_a_suspected_chunk_is_a_batch_of_its_own_and_not_in_hand_before():
    async def check():
        taking = chunks.batches(stream := Stream(1, 1, 1, 1))
        (suspect,) = stream.queue._queue[1]
        suspect.suspected = True
        (first,) = await anext(taking)
        assert (first.is_taken, suspect.is_taken) == (True, False)
        assert partitions(await anext(taking)) == [1]
        assert suspect.is_taken
        assert partitions(await anext(taking)) == [2, 3]

    asyncio.run(check())


def test_the_last_batch_of_a_stream_that_ends_is_whole():
    async def check():
        stream = Stream(1, 1)
        stream.queue.put_nowait(None)
        assert [partitions(batch) async for batch in chunks.batches(stream)] == [[0, 1]]

    asyncio.run(check())


def test_each_chunk_of_a_batch_that_is_done_is_done():
    marks = Marks()
    batch = [marks.deliver(A, run(A, 3, 2)), marks.deliver(B, run(B, 0))]
    assert [record.offset for record in chunks.records_of(batch)] == [3, 4, 0]
    chunks.all_done(batch)
    assert [chunk.is_done for chunk in batch] == [True, True]


def test_a_chunk_whose_records_are_let_go_keeps_its_place_and_is_committed_in_its_turn():
    marks, tp = Marks(), TP("t", 0)
    records = [Record("t", 0, offset, None, b"x", (), 0) for offset in range(5, 8)]
    chunk, following = marks.deliver(tp, records), marks.deliver(tp, records)
    chunk.let_go()
    assert (len(chunk.records), chunk.first, chunk.last) == (0, 5, 7)
    assert marks._records == len(following.records)
    following.done()
    assert marks.after(tp) is None
    chunk.done()
    assert (marks.after(tp), marks._records) == (8, 0)
