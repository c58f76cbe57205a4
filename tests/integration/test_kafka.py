"""The same app, agents and rule of the commit on Apache Kafka; topics, publishing and progress there."""

import asyncio
import os
import signal
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaConsumer, TopicPartition

from stream.broker import ensure_topics, progress_for, publisher_for
from stream.partition import partition_of
from stream.records import TP, Outgoing
from tests.contract import chunked_app, stopping
from tests.contract.stopping import (
    all_committed,
    eventually,
    first_of_each,
    forwarded,
    nothing_is_committed_that_did_not_come_out,
    one_topic_before_the_other,
    start,
    stop_again_and_again,
)


class KafkaFeed:
    """Kafka as tests.contract.stopping asks for it, in topics of its own."""

    def __init__(self, bootstrap, partitions):
        self.prefix = f"test-{uuid4().hex[:8]}-"
        self.url = f"kafka://{bootstrap}"
        self._servers = bootstrap.split(",")
        ensure_topics(self.url, {self.prefix + name: partitions for name in ("a", "b", "out")})
        self._publisher, self._progress = publisher_for(self.url), progress_for(self.url)

    def append(self, topic, values):
        self._publisher.publish(self.prefix + topic, [Outgoing(value, value) for value in values])

    def committed(self, group, topic):
        return self._progress.committed(self.prefix + group, self.prefix + topic)

    def end_offsets(self, topic):
        return self._progress.end_offsets(self.prefix + topic)

    def read(self, topic):
        ends = {
            TopicPartition(self.prefix + topic, part): end for part, end in self.end_offsets(topic).items()
        }
        consumer = KafkaConsumer(bootstrap_servers=self._servers, auto_offset_reset="earliest")
        consumer.assign(list(ends))
        consumer.seek_to_beginning()
        found = {(topic, tp.partition): [] for tp in ends}
        while any(consumer.position(tp) < end for tp, end in ends.items()):
            for tp, records in consumer.poll(1000).items():
                entries = [(each.offset, each.value, dict(each.headers)) for each in records]
                found[topic, tp.partition] += entries
        consumer.close()
        return found


@pytest.fixture
def make_feed(kafka, monkeypatch):
    def make(partitions=1):
        feed = KafkaFeed(kafka, partitions)
        monkeypatch.setenv("CHUNKED_APP_PREFIX", feed.prefix)
        return feed

    return make


def fill(feed, batches, size=50, begin=0):
    appended = {"a": [], "b": []}
    for number in range(begin, begin + batches):
        topic = "ab"[number % 2]
        values = [b"%d" % (number * size + index) for index in range(size)]
        feed.append(topic, values)
        appended[topic] += values
    return appended


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_nothing_is_lost_and_the_order_is_kept_when_the_worker_is_stopped_in_mid_chunk(
    make_feed, tmp_path, number
):
    feed = make_feed()
    stops = int(os.environ.get("WEIR_TEST_STOPS", "3"))
    appended = fill(feed, 100 * stops)
    assert stop_again_and_again(feed, tmp_path / "faust", number, stops)
    out = first_of_each(forwarded(feed))
    for topic, values in appended.items():
        assert [value for source, value in out if source == topic] == values


def test_a_topic_is_held_back_while_another_is_read(make_feed, tmp_path):
    one_topic_before_the_other(make_feed(), tmp_path / "faust")


def test_members_that_come_and_go_lose_nothing(make_feed, tmp_path):
    feed = make_feed(partitions=4)
    appended = fill(feed, 100)
    workers = [start(feed.url, tmp_path / "one")]
    try:
        eventually(lambda: forwarded(feed), "the first works")
        workers.append(start(feed.url, tmp_path / "two"))
        more = fill(feed, 200, begin=100)
        nothing_is_committed_that_did_not_come_out(feed)
        workers.append(start(feed.url, tmp_path / "three"))
        workers[0].terminate()
        assert workers[0].wait(stopping.PATIENCE) == 0
        nothing_is_committed_that_did_not_come_out(feed)
        workers[1].kill()
        eventually(lambda: all_committed(feed), "the rest is done", pause=0.5)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    out = set(forwarded(feed))
    for topic in "ab":
        assert {(topic, value) for value in appended[topic] + more[topic]} <= out


def test_keys_lie_where_the_embedded_log_would_put_them(make_feed):
    feed = make_feed(partitions=3)
    feed.append("a", [b"k%d" % number for number in range(50)])
    for (_, part), records in feed.read("a").items():
        assert {partition_of(value, 3) for _, value, _ in records} <= {part}


def test_topics_that_exist_stay_as_they_are(make_feed):
    feed = make_feed(partitions=2)
    ensure_topics(feed.url, {feed.prefix + "a": 5, feed.prefix + "new": 1})
    assert feed.end_offsets("a") == {0: 0, 1: 0}
    assert feed.end_offsets("new") == {0: 0}


def test_a_group_that_never_committed_starts_at_nought(make_feed):
    feed = make_feed()
    feed.append("a", [b"1"])
    assert feed.committed(chunked_app.GROUP, "a") == {0: 0}
    assert feed.end_offsets("a") == {0: 1}


def test_the_record_at_an_offset_is_told_and_none_behind_the_end(make_feed):
    feed = make_feed()
    feed.append("a", [b"1", b"2"])
    progress, place = progress_for(feed.url), TP(feed.prefix + "a", 0)
    assert [progress.record_at(place, at).value for at in (0, 1)] == [b"1", b"2"]
    assert progress.record_at(place, 2) is None


def test_a_dead_letter_may_be_larger_than_any_event(make_feed):
    feed = make_feed()
    ensure_topics(feed.url, {feed.prefix + "a.dlq": 1})
    publisher = publisher_for(feed.url)
    publisher.publish(feed.prefix + "a", [Outgoing(b"k", bytes(1_000_000))])
    publisher.publish(feed.prefix + "a.dlq", [Outgoing(b"k", bytes(1_100_000))])
    publisher.close()
    assert feed.end_offsets("a.dlq") == {0: 1}


def test_what_the_broker_refuses_is_raised(make_feed):
    feed = make_feed()
    with pytest.raises(Exception, match=r"(?i)too ?large|bytes"):
        feed.append("a", [bytes(5_000_000)])


def test_the_broker_takes_transactions_so_that_others_exactly_once_can_be_measured(make_feed, kafka):
    feed = make_feed()

    async def committed():
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=feed.prefix)
        await asyncio.wait_for(producer.start(), stopping.PATIENCE)
        async with producer.transaction():
            await producer.send_and_wait(feed.prefix + "a", b"1")
        await producer.stop()

    asyncio.run(committed())
    assert feed.end_offsets("a")[0] == 2  # the record, and the marker of the commit
