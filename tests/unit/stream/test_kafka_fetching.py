"""When aiokafka fetches for Faust: while it is asked, and ahead only where there is much to read."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from stream.kafka import ConsumerThread
from stream.records import MUCH

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """As much of aiokafka's consumer as is asked: which partitions it has, and which of them it does not fetch."""

    _max_poll_records = 1_000

    def __init__(self):
        self.held = set()

    def assignment(self):
        return {A, B}

    def paused(self):
        return set(self.held)

    def pause(self, *tps):
        self.held |= set(tps)

    def resume(self, *tps):
        self.held -= set(tps)


@pytest.fixture
def thread(monkeypatch):
    """Faust's thread with a consumer whose fetches are given one after the other, and note what was held meanwhile."""
    made = ConsumerThread.__new__(ConsumerThread)
    made.consumer_, made.fetches, made.held, made.asked = Consumer(), [], [], []

    async def fetch(self, consumer, partitions, timeout=None, max_records=None):
        self.held.append(consumer.paused())
        self.asked.append((partitions, timeout, max_records, threading.current_thread()))
        return self.fetches.pop(0)

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(ConsumerThread, "_ensure_consumer", lambda self: self.consumer_)
    return made


def records(count):
    return [SimpleNamespace(value=b"v")] * count


def test_what_is_little_is_fetched_only_when_it_is_asked_for(thread):
    async def check():
        thread.fetches = [{A: records(1)}, {B: records(2)}]
        await thread._fetch_records(thread.consumer_, {A, B}, 1.0, 10)
        assert thread.consumer_.held == {A, B}
        await thread._fetch_records(thread.consumer_, {A, B}, 1.0, 10)
        assert thread.held == [set(), set()]
        assert thread.consumer_.held == {A, B}

    asyncio.run(check())


@pytest.mark.parametrize("fetched", [{}, {A: records(MUCH // 2), B: records(MUCH // 2)}])
def test_where_nothing_came_or_much_the_next_fetch_is_on_its_way_already(thread, fetched):
    async def check():
        thread.fetches = [fetched]
        await thread._fetch_records(thread.consumer_, {A, B}, 1.0, 10)
        assert thread.consumer_.held == set()

    asyncio.run(check())


def test_a_fetch_runs_in_the_consumers_own_thread_as_faust_asked_for_it(thread):
    thread.thread_loop = asyncio.new_event_loop()
    running = threading.Thread(target=thread.thread_loop.run_forever)
    running.start()
    thread.fetches = [found := {A: records(1)}]
    assert asyncio.run(thread.getmany({A}, 1.0)) is found
    thread.thread_loop.call_soon_threadsafe(thread.thread_loop.stop)
    running.join()
    thread.thread_loop.close()
    assert thread.asked == [({A}, 1.0, 1_000, running)]
