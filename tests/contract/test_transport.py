"""The embedded transport under a real Faust app: at least once, in order, whoever dies when."""

import asyncio
import signal
import sqlite3
import threading

import faust
import psutil
import pytest

from stream.agents import CRASHED, guarded, make_app, outlet_for
from stream.chunks import chunks
from stream.embedded import transport
from stream.embedded.log import Log
from stream.marks import IN_FLIGHT
from stream.records import TP, Outgoing
from tests.contract.chunked_app import GROUP
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


class EmbeddedFeed:
    """The embedded log as tests.contract.stopping asks for it."""

    def __init__(self, directory):
        self.log = Log(directory)
        self.url = f"embedded://{directory}"
        self.committed, self.end_offsets = self.log.committed, self.log.end_offsets

    def append(self, topic, values):
        self.log.append(topic, [Outgoing(value, value) for value in values])

    def read(self, topic):
        found = {}
        for record in self.log.fetch({TP(topic, part): 0 for part in self.end_offsets(topic)}, 10_000_000):
            entry = (record.offset, record.value, dict(record.headers))
            found.setdefault((topic, record.partition), []).append(entry)
        return found


@pytest.fixture
def feed(tmp_path):
    return EmbeddedFeed(tmp_path / "a log, in a directory with a name; 100%")


@pytest.fixture
def worker(feed, tmp_path):
    """A starter of workers; those that still run at the end are killed."""
    started = []

    def begin(*arguments):
        started.append(start(feed.url, tmp_path / "faust", *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def fill(feed, batches=150, size=40):
    """Two topics in turn; gives source and value in the order of appending."""
    appended = []
    for number in range(batches):
        topic = "ab"[number % 2]
        values = [b"%d" % (number * size + index) for index in range(size)]
        feed.append(topic, values)
        appended += [(topic, value) for value in values]
    return appended


@pytest.mark.parametrize(
    "stops",
    [pytest.param(2, id="a few times"), pytest.param(10, id="ten times", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_nothing_is_lost_and_the_order_is_kept_when_the_worker_is_stopped_in_mid_chunk(
    feed, tmp_path, number, stops
):
    appended = fill(feed, batches=30 * stops)
    assert stop_again_and_again(feed, tmp_path / "faust", number, stops)
    out = forwarded(feed)
    assert first_of_each(out) == appended
    assert len(out) < 2 * len(appended)


def test_an_agent_that_fails_ends_the_process_and_its_chunk_is_delivered_again(feed, worker):
    appended = fill(feed, batches=20)
    assert worker("--fail-at", "555").wait(60) == CRASHED
    nothing_is_committed_that_did_not_come_out(feed)
    assert b"555" not in {value for _, value in forwarded(feed)}
    worker()
    eventually(lambda: all_committed(feed), "the rest is done")
    assert first_of_each(forwarded(feed)) == appended


def test_a_topic_is_held_back_while_another_is_read(feed, tmp_path):
    one_topic_before_the_other(feed, tmp_path / "faust")


def test_a_second_member_is_refused_and_told_the_first(feed, worker, tmp_path):
    first = worker()
    feed.append("a", [b"1"])
    eventually(lambda: forwarded(feed), "the first works")
    assert worker().wait(60) != 0
    said = (tmp_path / "faust.out").read_text()
    assert f"the group {GROUP} has its member already: process {first.pid}" in said
    feed.append("a", [b"2"])
    eventually(lambda: len(forwarded(feed)) == 2, "the first goes on")


def test_a_worker_opens_no_port_and_makes_no_topic_of_its_own(feed, worker):
    process = worker()
    feed.append("a", [b"1"])
    eventually(lambda: forwarded(feed), "it works")
    assert [each for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"] == []
    with sqlite3.connect(feed.log.directory / "log.db") as db:
        assert {name for (name,) in db.execute("SELECT name FROM topics")} == {"a", "b", "out"}
    db.close()


def test_a_log_that_cannot_be_written_ends_the_process(feed, worker, tmp_path):
    process = worker()
    feed.append("a", [b"1"])
    eventually(lambda: forwarded(feed), "it works")
    with sqlite3.connect(feed.log.directory / "log.db") as db:
        db.execute("DROP TABLE commits")
    db.close()
    feed.append("a", [b"2"])
    assert process.wait(60) == CRASHED
    assert "no such table: commits" in (tmp_path / "faust.out").read_text()


def serve(feed, tmp_path, agent, topics, until):
    """Run an app with one agent in this process until `until()`."""

    async def scenario():
        app = make_app("here", feed.url, tmp_path / "faust")
        app.agent(app.topic(*topics))(agent(app))
        app.finalize()
        await app.start()
        async with asyncio.timeout(60):
            while not until():
                await asyncio.sleep(0.005)
        await app.stop()

    asyncio.run(scenario())


def test_a_slow_agent_has_no_more_waiting_than_the_bound(feed, tmp_path):
    feed.append("a", [b"%d" % number for number in range(3 * IN_FLIGHT)])
    waiting, counts = [], []

    def agent(app):
        async def slowly(stream):
            async for chunk in chunks(stream):
                await asyncio.sleep(0.01)
                waiting.append(app.consumer.marks._records)
                counts.append(len(chunk.records))
                chunk.done()

        return slowly

    serve(feed, tmp_path, agent, ["a"], lambda: sum(counts) == 3 * IN_FLIGHT)
    assert max(waiting) < IN_FLIGHT + 500
    assert max(waiting) > IN_FLIGHT / 2


def test_done_out_of_order_is_committed_as_far_as_it_goes_without_a_gap(feed, tmp_path):
    fill(feed, batches=8, size=5)
    held = []

    def agent(app):
        async def hold(stream):
            async for chunk in chunks(stream):
                held.append(chunk)
                if len(held) == 8:
                    for each in (held[0], held[2], held[6], held[5]):  # of a: 0, 2, 6; of b: 5
                        each.done()

        return hold

    serve(feed, tmp_path, agent, ["a", "b"], lambda: len(held) == 8)
    assert feed.committed("here", "a") == {0: 10}
    assert feed.committed("here", "b") == {0: 0}


def test_an_idle_worker_is_woken_by_an_append_and_not_by_a_clock(feed, tmp_path, monkeypatch):
    got, patient = [], transport.Consumer._getmany
    monkeypatch.setattr(
        transport.Consumer, "_getmany", lambda self, **given: patient(self, **{**given, "timeout": 3600})
    )

    def agent(app):
        async def note(stream):
            async for chunk in chunks(stream):
                got.extend(record.value for record in chunk.records)
                chunk.done()

        return note

    def append():
        for number in range(20):
            eventually(lambda: len(got) == number, "the one before arrives")  # noqa: B023
            feed.append("a", [b"%d" % number])

    appending = threading.Thread(target=append, daemon=True)
    appending.start()
    serve(feed, tmp_path, agent, ["a"], lambda: len(got) == 20)
    appending.join()
    assert got == [b"%d" % number for number in range(20)]


def test_fausts_own_way_to_send_appends_one_record_and_says_where(feed, tmp_path):
    feed.log.ensure_topic("s", partitions=3)
    told = []

    def agent(app):
        async def send(stream):
            async for chunk in chunks(stream):
                for record in chunk.records:
                    sent = await app.topic("s").send(key=record.key, value=b"v", headers={"h": b"1"})
                    told.append(await sent)
                with pytest.raises(ValueError, match="finds a record's partition by its key"):
                    await app.producer.send("s", b"k", b"v", 99, None, None)
                chunk.done()

        return send

    feed.append("a", [b"k1", b"k2", b"k3", b"k1"])
    serve(feed, tmp_path, agent, ["a"], lambda: len(told) == 4)
    fetched = feed.log.fetch({TP("s", part): 0 for part in range(3)})
    assert [(each.partition, each.offset) for each in fetched] == [
        (each.partition, each.offset) for each in told
    ]
    assert {(each.value, each.headers) for each in fetched} == {(b"v", (("h", b"1"),))}


def test_an_outlet_sends_to_several_topics_with_a_prefix_and_leaves_out_what_is_empty(feed, tmp_path):
    feed.append("a", [b"1"])
    sent = []

    def agent(app):
        outlet = outlet_for(app, prefix="x-")

        @guarded
        async def send(stream):
            async for chunk in chunks(stream):
                await outlet.send({"one": [Outgoing(None, b"1")], "two": [Outgoing(b"k", b"2")], "none": []})
                chunk.done()
                sent.append(chunk)

        return send

    serve(feed, tmp_path, agent, ["a"], lambda: sent)
    fetched = feed.log.fetch({TP("x-one", 0): 0, TP("x-two", 0): 0})
    assert [(each.topic, each.value) for each in fetched] == [("x-one", b"1"), ("x-two", b"2")]
    assert "x-none" not in {name for (name,) in feed.log.connection().execute("SELECT name FROM topics")}


def test_an_address_that_names_no_absolute_directory_is_refused():
    with pytest.raises(ValueError, match="say embedded:///DIR"):
        faust.App("x", broker="embedded://relative/log").transport  # noqa: B018 - it is made when it is asked for
