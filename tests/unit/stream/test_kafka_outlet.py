"""Batches on their way to Kafka: nothing is sent of a partition once something of it was refused."""

from __future__ import annotations

import asyncio

import pytest

from stream.kafka import _send
from stream.records import TP, Outgoing

SLOW, FAST = Outgoing(b"k", b"the first decision of an id"), Outgoing(b"k", b"a later one")


class RefusedError(Exception):
    """The broker took nothing."""


class Batch(list):
    """A produce batch of one record."""

    def append(self, *, key, value, timestamp, headers):
        if self:
            return None
        super().append(value)
        return self


class Producer:
    """aiokafka's: it refuses what it is told to, and takes whatever else it is given."""

    def __init__(self, refused=b""):
        self.refused, self.taken = refused, []

    create_batch = Batch

    async def send_batch(self, batch, topic, *, partition):
        return asyncio.ensure_future(self._acknowledged(batch[0]))

    async def _acknowledged(self, value):
        await asyncio.sleep(0)
        if value == self.refused:
            raise RefusedError
        self.taken.append(value)


def test_batches_of_a_partition_go_in_their_order():
    producer = Producer()
    asyncio.run(_send(producer, TP("decisions", 0), [SLOW, FAST]))
    assert producer.taken == [SLOW.value, FAST.value]


def test_what_comes_behind_a_refused_batch_is_not_sent():
    """The ledger takes an id's first decision: a later one that stands there alone would be it."""
    producer = Producer(refused=SLOW.value)
    with pytest.raises(RefusedError):
        asyncio.run(_send(producer, TP("decisions", 0), [SLOW, FAST]))
    assert producer.taken == []
