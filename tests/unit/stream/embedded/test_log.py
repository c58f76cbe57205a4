"""The embedded log: what was appended is there, in order, for everybody, after whatever happened."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.embedded.log import GroupTaken, Log, LogError
from stream.partition import partition_of
from stream.records import TP, Outgoing


def records(*values, key=b"k"):
    return [Outgoing(key, value.encode()) for value in values]


def values(fetched):
    return [record.value.decode() for record in fetched]


def test_records_come_back_whole_with_contiguous_offsets(tmp_path):
    log = Log(tmp_path)
    log.append("t", [Outgoing(None, b"a", (("h", b"\x00\xff"),)), Outgoing(b"", b"")])
    log.append("t", records("c"))
    first, second, third = log.fetch({TP("t", 0): 0})
    assert (first.key, first.value, first.headers) == (None, b"a", (("h", b"\x00\xff"),))
    assert (second.key, second.value) == (b"", b"")
    assert [first.offset, second.offset, third.offset] == [0, 1, 2]
    assert abs(first.timestamp_ms / 1000 - time.time()) < 60


def test_several_topics_are_read_in_the_order_in_which_they_were_appended(tmp_path):
    log = Log(tmp_path)
    for number in range(20):
        log.append("even" if number % 2 == 0 else "odd", records(str(number)))
    reader = log.reader({TP("even", 0): 0, TP("odd", 0): 0})
    read = []
    while batch := reader.fetch(3):
        read += values(batch)
    assert read == [str(number) for number in range(20)]
    assert reader.positions == {TP("even", 0): 10, TP("odd", 0): 10}


@given(
    appends=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 7)), max_size=12),
    starts=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    size=st.integers(1, 9),
)
@settings(max_examples=20)
def test_a_reader_gets_from_its_positions_on_everything_once_and_in_order(
    tmp_path_factory, appends, starts, size
):
    log = Log(tmp_path_factory.mktemp("log"))
    expected, counts = [], {"a": 0, "b": 0}
    wanted = dict(zip("ab", starts, strict=True))
    for topic, count in appends:
        log.append(topic, records(*(f"{topic}{counts[topic] + index}" for index in range(count))))
        for _ in range(count):
            if counts[topic] >= wanted[topic]:
                expected.append(f"{topic}{counts[topic]}")
            counts[topic] += 1
    reader = log.reader({TP(topic, 0): start for topic, start in wanted.items()})
    read = []
    while batch := reader.fetch(size):
        assert len(batch) <= size
        read += values(batch)
    assert read == expected
    log.close()


def test_records_of_one_key_stay_in_one_partition(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("t", partitions=4)
    log.append("t", [Outgoing(b"k%d" % (index % 10), b"%d" % index) for index in range(100)])
    fetched = log.fetch({TP("t", part): 0 for part in range(4)}, 1000)
    assert sorted(int(record.value) for record in fetched) == list(range(100))
    assert len({(record.key, record.partition) for record in fetched}) == 10
    assert len({record.partition for record in fetched}) > 1


def test_the_number_of_partitions_cannot_change_under_the_keys(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("t", partitions=2)
    with pytest.raises(LogError, match="has 2 partitions, not 3"):
        log.ensure_topic("t", partitions=3)


def test_several_topics_are_appended_all_or_none(tmp_path):
    log = Log(tmp_path)
    with pytest.raises(TypeError):
        log.append_many({"a": records("1"), "b": [Outgoing(b"k", object())]})
    assert log.end_offsets("a") == {0: 0}
    log.append_many({"a": records("1"), "b": records("2"), "c": []})
    assert values(log.fetch({TP("a", 0): 0, TP("b", 0): 0, TP("c", 0): 0})) == ["1", "2"]


def test_a_group_goes_on_where_it_committed_and_another_from_the_start(tmp_path):
    log = Log(tmp_path)
    log.append("t", records("a", "b", "c"))
    log.commit("g", {TP("t", 0): 2})
    assert Log(tmp_path).committed("g", "t") == {0: 2}
    assert log.committed("other", "t") == {0: 0}
    assert log.end_offsets("t") == {0: 3}


def test_a_group_has_one_member_until_it_dies_and_the_second_is_told_its_pid(tmp_path):
    code = "import sys, time; from pathlib import Path; from stream.embedded.log import Log\n"
    code += "member = Log(Path(sys.argv[1])).join('g'); print('in', flush=True); time.sleep(60)"
    member = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert member.stdout.readline() == b"in\n"
        with pytest.raises(GroupTaken, match=f"process {member.pid}"):
            Log(tmp_path).join("g")
    finally:
        member.kill()
        member.wait()
    Log(tmp_path).join("g").close()


def test_a_sleeping_reader_is_woken_by_another_process_and_by_nothing_else(tmp_path):
    log = Log(tmp_path)
    waker = log.waker()
    assert not waker.wait(0.05)
    code = "import sys; from pathlib import Path; from stream.embedded.log import Log, Outgoing\n"
    code += "Log(Path(sys.argv[1])).append('t', [Outgoing(b'k', b'v')])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert waker.wait(5)
    waker.clear()
    assert not waker.wait(0.05)
    assert values(log.fetch({TP("t", 0): 0})) == ["v"]
    waker.close()


def test_a_long_path_still_wakes(tmp_path):
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    log, waker = Log(deep), Log(deep).waker()
    log.append("t", records("a"))
    assert waker.wait(5)
    waker.close()


def test_the_socket_of_a_reader_that_was_killed_is_swept_away(tmp_path):
    log = Log(tmp_path)
    waker = log.waker()
    waker._socket.close()  # as a kill leaves it: the file stays
    log.append("t", records("a"))
    assert list((tmp_path / "wake").iterdir()) == []


def test_an_append_tells_the_offsets_that_its_records_got(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("t", partitions=2)
    log.append("s", records("before"))
    given = log.append_many({"s": records("a", "b"), "t": records("c", "d", "e"), "u": []})
    assert given == {TP("s", 0): range(1, 3), TP("t", partition_of(b"k", 2)): range(3)}


def test_a_record_that_is_not_made_of_bytes_is_refused_and_stops_no_reader(tmp_path):
    log = Log(tmp_path)
    with pytest.raises(TypeError, match="bytes"):
        log.append("t", [Outgoing(b"k", "text")])
    log.append("t", records("a"))
    assert values(log.fetch({TP("t", 0): 0})) == ["a"]


def test_large_records_come_in_fetches_of_bounded_size(tmp_path):
    log = Log(tmp_path)
    log.append("t", [Outgoing(b"k", bytes([number]) * 700_000) for number in range(8)])
    reader = log.reader({TP("t", 0): 0})
    fetched = []
    while batch := reader.fetch(500, max_bytes=2_000_000):
        assert sum(len(record.value) for record in batch) < 3_500_000
        fetched += batch
    assert [record.value[0] for record in fetched] == list(range(8))
    assert reader.positions == {TP("t", 0): 8}


def test_what_other_topics_hold_is_passed_over_once(tmp_path):
    log = Log(tmp_path)
    log.append("wanted", records("a"))
    reader = log.reader({TP("wanted", 0): 1})
    for _ in range(3):
        log.append("other", records("x"))
    assert reader.fetch(10) == []
    steps = []
    log.connection().set_progress_handler(lambda: steps.append(1), 1)
    assert reader.fetch(10) == []
    idle = len(steps)
    for _ in range(50):
        log.append("other", records("x"))
    assert reader.fetch(10) == []
    steps.clear()
    assert reader.fetch(10) == []
    assert len(steps) == idle


def test_a_log_of_another_format_is_refused(tmp_path):
    Log(tmp_path).connection().execute("PRAGMA user_version = 99")
    with pytest.raises(LogError, match="has format 99"):
        Log(tmp_path)


def test_a_file_that_is_no_log_is_refused(tmp_path):
    (tmp_path / "log.db").write_bytes(b"not a database, but longer than its header is" * 100)
    with pytest.raises(LogError, match="cannot be opened"):
        Log(tmp_path)


def test_several_processes_open_a_new_log_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from stream.embedded.log import Log, Outgoing\n"
    code += "Log(Path(sys.argv[1])).append('t', [Outgoing(b'k', b'v')])"
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert Log(tmp_path).end_offsets("t") == {0: 4}


def test_several_threads_append_at_once_and_nothing_is_lost(tmp_path):
    log = Log(tmp_path)

    def append(name):
        for number in range(25):
            log.append("t", records(f"{name}-{number}"))
        log.close()

    threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fetched = log.fetch({TP("t", 0): 0}, 1000)
    assert [record.offset for record in fetched] == list(range(100))
    for name in "abcd":
        assert [value for value in values(fetched) if value[0] == name] == [f"{name}-{n}" for n in range(25)]


APPENDER = """
import sys
from pathlib import Path
from stream.embedded.log import Log, Outgoing
log, number = Log(Path(sys.argv[1])), int(sys.argv[2])
while True:
    log.append("t", [Outgoing(b"k", b"%d" % (number + index)) for index in range(7)])
    number += 7
    print(number, flush=True)
"""


def test_an_append_that_returned_is_on_the_disk(tmp_path):
    """Not only with the system: what was acknowledged survives a power cut."""
    full = 2
    assert Log(tmp_path).connection().execute("PRAGMA synchronous").fetchone() == (full,)


def test_an_append_that_returned_is_there_after_a_kill(tmp_path):
    log, told = Log(tmp_path), 0
    for _ in range(4):
        start = log.end_offsets("t")[0]
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(tmp_path), str(start)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(random.uniform(0.0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        lines = process.communicate()[0].split()
        told = max([start + 7, *map(int, lines[:-1])])  # the kill may have cut the last line short
        fetched = log.fetch({TP("t", 0): 0}, 1_000_000)
        assert len(fetched) >= told
        assert values(fetched) == [str(number) for number in range(len(fetched))]


def size_of(directory):
    return sum(file.stat().st_size for file in directory.glob("log.db*"))


def test_retention_drops_what_is_old_and_every_group_has_read_and_gives_the_disk_back(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("t", retention_ms=-1)  # everything is older
    log.ensure_topic("kept")
    for _ in range(40):
        log.append("t", [Outgoing(b"k", os.urandom(50_000)) for _ in range(4)])
    log.append("kept", records("a"))
    log.commit("g", {TP("t", 0): 80})
    log.commit("faster", {TP("t", 0): 120})
    log.retain()
    assert log.first_offsets("t") == {0: 80}
    log.forget_group("g")
    log.commit("faster", {TP("t", 0): 160})
    log.retain()
    before = size_of(tmp_path)
    log.retain()  # nothing came to fill what was dropped
    assert size_of(tmp_path) < before / 3
    assert log.first_offsets("t") == {0: 160}
    assert values(log.fetch({TP("kept", 0): 0})) == ["a"]
    log.append("t", records("next"))
    assert [(r.offset, r.value) for r in log.fetch({TP("t", 0): 0})] == [(160, b"next")]


def test_retention_by_size_keeps_the_newest(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("t", retention_ms=None, retention_bytes=100_000)
    for number in range(30):
        log.append("t", [Outgoing(b"k", b"%09d" % number * 1000)])
    log.retain()
    kept = log.fetch({TP("t", 0): 0}, 100)
    assert 90_000 <= sum(len(record.value) for record in kept) <= 110_000
    assert kept[-1].offset == 29


def test_space_that_was_dropped_is_filled_again(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("t", retention_ms=None, retention_bytes=500_000)
    sizes = []
    for _ in range(30):
        log.append("t", [Outgoing(b"k", os.urandom(50_000)) for _ in range(4)])
        log.retain()
        sizes.append((tmp_path / "log.db").stat().st_size)
    assert max(sizes) < 2_000_000


def test_a_reader_that_stopped_midway_does_not_let_the_write_ahead_log_grow(tmp_path):
    log = Log(tmp_path)
    log.append("t", records("a", "b"))
    reader = log.reader({TP("t", 0): 0})
    assert values(reader.fetch(1)) == ["a"]  # and then it does nothing for a long time
    sizes = []
    for _ in range(120):
        Log(tmp_path).append("t", [Outgoing(b"k", bytes(100_000))])
        sizes.append((tmp_path / "log.db-wal").stat().st_size)
    assert max(sizes) < 8_000_000
    assert values(reader.fetch(1)) == ["b"]


@contextmanager
def a_reader_at_every_moment(directory):
    """Two connections that take turns, the one beginning to read before the other ends."""
    stop = threading.Event()

    def read():
        pair = [sqlite3.connect(directory / "log.db", isolation_level=None) for _ in range(2)]
        while not stop.is_set():
            pair[0].execute("BEGIN")
            pair[0].execute("SELECT count(*) FROM ends").fetchone()
            if pair[1].in_transaction:
                pair[1].execute("COMMIT")
            pair.reverse()
            time.sleep(0.002)
        for each in pair:
            each.close()

    thread = threading.Thread(target=read)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_readers_who_leave_no_moment_free_do_not_let_the_write_ahead_log_grow(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.embedded.log.WAL_BYTES", 2_000_000)
    log, sizes = Log(tmp_path), []
    with a_reader_at_every_moment(tmp_path):
        for _ in range(60):
            log.append("t", [Outgoing(b"k", bytes(200_000))])
            sizes.append((tmp_path / "log.db-wal").stat().st_size)
    assert max(sizes) < 4_000_000


def test_a_reader_that_hangs_is_not_waited_for_at_every_append(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.embedded.log.WAL_BYTES", 2_000_000)
    log, tried = Log(tmp_path), []
    log.append("t", records("a"))
    hanging = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    hanging.execute("BEGIN")
    hanging.execute("SELECT count(*) FROM batches").fetchone()
    log.connection().set_trace_callback(lambda words: tried.append(words) if "checkpoint" in words else None)
    for _ in range(60):
        log.append("t", [Outgoing(b"k", bytes(200_000))])
    hanging.close()
    assert log.end_offsets("t") == {0: 61}
    assert 1 <= len(tried) <= 8


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path):
    log = Log(tmp_path)
    log.append("t", records("a"))
    pages = log.connection().execute("PRAGMA page_count").fetchone()[0]
    log.connection().execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(LogError, match="cannot be written: database or disk is full"):
        log.append("t", [Outgoing(b"k", bytes(1_000_000))])
    log.connection().execute("PRAGMA max_page_count = 1000000")
    log.append("t", records("b"))
    assert values(log.fetch({TP("t", 0): 0})) == ["a", "b"]


def test_the_record_at_an_offset_is_the_oldest_that_is_still_there(tmp_path):
    log, place = Log(tmp_path), TP("t", 0)
    log.ensure_topic("t", retention_ms=0)
    assert log.record_at(place, 0) is None
    log.append("t", records("a", "b"))
    time.sleep(0.01)
    log.retain()
    log.append("t", records("c", "d"))
    assert [log.record_at(place, at).offset for at in (0, 2, 3)] == [2, 2, 3]
    assert log.record_at(place, 4) is None
