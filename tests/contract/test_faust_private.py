"""What Weir overrides in faust-streaming 0.15.3, or relies on beneath its documentation, is there and as it was read."""

import inspect
from importlib.metadata import version

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from faust import App, streams
from faust.sensors.monitor import Monitor
from faust.tables.recovery import Recovery
from faust.transport import base
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka
from faust.transport.producer import Producer as FaustProducer
from faust.types.tuples import ConsumerMessage
from mode.threads import ServiceThread

from stream import kafka
from stream.chunks import ChunkedConsumer
from stream.embedded import transport

OVERRIDDEN = {
    "_add_gap",
    "_commit_offsets",
    "_filter_tps_with_pending_acks",
    "_new_offset",
    "ack",
    "getmany",
    "on_buffer_drop",
    "on_buffer_full",
    "on_partitions_revoked",
    "perform_seek",
}
"""The whole of the commit rule, the order and the bound, in what both consumers share."""


def parameters(function):
    """Names and kinds; our annotations are stricter."""
    return [(each.name, each.kind) for each in inspect.signature(function).parameters.values()]


def methods(ours):
    return {
        name: member
        for name, member in vars(ours).items()
        if inspect.isfunction(member) and name != "__init__"
    }


def test_the_version_is_the_one_that_was_read():
    assert version("faust-streaming") == "0.15.3"


def test_what_both_consumers_override_is_known_by_name():
    assert {name for name in methods(ChunkedConsumer) if hasattr(FaustConsumer, name)} == OVERRIDDEN


@pytest.mark.parametrize(
    ("ours", "faust"),
    [
        (ChunkedConsumer, FaustConsumer),
        (transport.Consumer, FaustConsumer),
        (transport.Producer, FaustProducer),
        (kafka.Consumer, aiokafka.Consumer),
    ],
)
def test_an_override_takes_what_faust_gives_it(ours, faust):
    shared = [name for name in methods(ours) if hasattr(faust, name)]
    assert shared
    for name in shared:
        loose = any(kind is inspect.Parameter.VAR_KEYWORD for _, kind in parameters(methods(ours)[name]))
        theirs = parameters(getattr(faust, name))
        assert loose or parameters(methods(ours)[name]) == theirs, name


@pytest.mark.parametrize("ours", [transport.Consumer, kafka.Consumer])
@pytest.mark.parametrize("name", sorted(OVERRIDDEN))
def test_both_transports_take_the_rule_from_the_same_lines(ours, name):
    assert getattr(ours, name) is getattr(ChunkedConsumer, name)


@pytest.mark.parametrize("ours", [transport.Consumer, kafka.Consumer])
def test_nothing_of_faust_that_must_be_there_is_left_abstract(ours):
    assert not getattr(ours, "__abstractmethods__", None)
    abstract = {
        name for name, member in vars(FaustConsumer).items() if getattr(member, "__isabstractmethod__", 0)
    }
    assert {name for name in abstract if getattr(ours, name) is getattr(FaustConsumer, name)} == set()


@pytest.mark.parametrize(
    ("where", "lines"),
    [
        # what a commit is made of, and that nothing but these two says so
        (FaustConsumer.force_commit, ["self._filter_tps_with_pending_acks(topics)", "self._commit_tps("]),
        (
            FaustConsumer._filter_committable_offsets,
            ["self._new_offset(tp)", "self._should_commit(tp, offset)"],
        ),
        (
            FaustConsumer._commit_offsets,
            [
                "if tp in assignment",
                "await self._commit(committable_offsets)",
                "self._committed_offset.update(",
            ],
        ),
        (FaustConsumer.on_stop, ["await self.commit_and_end_transactions()"]),
        # how what getmany yields is delivered, and when it would be dropped
        (FaustConsumer._drain_messages, ["getmany(timeout=1.0)", "offset >= r_offset", "callback(message)"]),
        (FaustConsumer._wait_next_records, ["self.can_resume_flow", "await self._getmany("]),
        (FaustConsumer.perform_seek, ["await self.seek_to_committed()", "read_offset.update("]),
        (FaustConsumer.ack, ["self._unacked_messages.discard(message)", "notify(self._waiting_for_ack)"]),
        (FaustConsumer.pause_partitions, ["self._get_active_partitions().difference_update(tpset)"]),
        (FaustConsumer.resume_partitions, ["self._paused_partitions.difference_update(tpset)"]),
        (Monitor.on_stream_event_in, ["self.stream_inbound_time[tp] = monotonic()"]),
        (Fetcher._fetcher.fun, ["await consumer._drain_messages(self)"]),
        # a rebalance: stop, forget, assign, seek, go on
        (App._on_partitions_revoked, ["consumer.stop_flow", "self.flow_control.clear"]),
        (Recovery._resume_streams, ["consumer.perform_seek()", "consumer.resume_flow()"]),
        (Conductor._subscriber.fun, ["await self.app.consumer.subscribe("]),
        # the generation without which streams pass a message over
        (streams.Stream._py_aiter, ["message.generation_id != self.app.consumer_generation_id"]),
        # Kafka: runs by partition, as they lie in the fetcher
        (aiokafka.AIOKafkaConsumerThread._fetch_records, ["fetcher.fetched_records("]),
        (
            aiokafka.AIOKafkaConsumerThread._create_worker_consumer,
            ["max_poll_records=conf.broker_max_poll_records", "fetch_max_wait_ms=1500"],
        ),
        # a cancellation that the client lets out leaves its thread's end untold
        (aiokafka.AIOKafkaConsumerThread.on_thread_stop, ["await self._consumer.stop()"]),
        (ServiceThread._start_thread, ["except Exception:", "self.set_shutdown()"]),
        (App._stop_consumer, ["if self._consumer is not None"]),
        (aiokafka.Consumer._new_consumer_thread, ["AIOKafkaConsumerThread(self, loop="]),
        (AIOKafkaConsumer.start, ["fetch_max_wait_ms=self._fetch_max_wait_ms"]),
        (aiokafka.Producer._ensure_producer, ["return self._producer"]),
        (aiokafka.Producer._settings_default, ['"max_batch_size": self.max_batch_size', '"acks": self.acks']),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_line_that_weir_relies_on_is_there(where, lines):
    source = inspect.getsource(where)
    for line in lines:
        assert line in source


@pytest.mark.parametrize(
    "name", ["flow_active", "_unacked_messages", "_waiting_for_ack", "assignment", "commit", "seek_wait"]
)
def test_a_consumer_has_what_the_rule_asks_of_it(name):
    assert hasattr(FaustConsumer, name) or name in FaustConsumer.__annotations__


def test_a_message_is_made_as_faust_makes_it():
    made = set(inspect.signature(ConsumerMessage.__init__).parameters)
    assert {"topic", "partition", "offset", "timestamp", "value", "tp", "generation_id"} <= made


def test_a_transport_names_its_consumer_and_producer():
    assert {"Consumer", "Producer", "default_port"} <= {*vars(base.Transport), *vars(transport.Transport)}
    assert issubclass(transport.Transport.Consumer, ChunkedConsumer)
    assert issubclass(kafka.Transport.Consumer, ChunkedConsumer)


def test_the_producer_beneath_takes_whole_batches():
    assert parameters(AIOKafkaProducer.send_batch)[1:3] == [
        ("batch", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ("topic", inspect.Parameter.POSITIONAL_OR_KEYWORD),
    ]
    assert "the batch is full\n            or closed, returns None" in (BatchBuilder.append.__doc__ or "")
    assert inspect.iscoroutinefunction(AIOKafkaProducer.partitions_for)
