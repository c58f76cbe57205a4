"""What a role's watch keeps: the time of each stage, once a chunk, and how long the records waited."""

import time

import pytest

from stream.records import Record
from stream.watch import UNWATCHED, Distribution, RoleWatch


def records(count, topic="transactions", seconds_ago=0.0):
    at_ms = int((time.time() - seconds_ago) * 1000)
    return [Record(topic, 0, at, None, b"{}", (), at_ms) for at in range(count)]


def test_a_length_of_time_falls_into_the_first_bucket_that_reaches_to_it():
    kept = Distribution((0.1, 0.5))
    for seconds, times in ((0.1, 1), (0.11, 2), (0.5, 3), (0.51, 4)):
        kept.add(seconds, times)
    assert kept.read() == ([1, 5, 4], pytest.approx(0.1 + 0.22 + 1.5 + 2.04))


def test_a_stage_is_counted_once_a_chunk_and_only_when_the_chunk_is_through():
    watch = RoleWatch("score")
    passing = watch.passage(records(500))
    with passing.stage("decode"):
        time.sleep(0.002)
    assert watch.stages == {}
    passing.done()
    counts, seconds = watch.stages["decode"].read()
    assert sum(counts) == 1
    assert 0.002 <= seconds < 1
    assert (watch.records, watch.chunks) == ({"transactions": 500}, {"transactions": 1})


def test_all_records_of_a_chunk_waited_as_long_as_its_first():
    watch = RoleWatch("score")
    watch.passage([*records(1, seconds_ago=40.0), *records(2)]).done()
    counts, seconds = watch.latency["transactions"].read()
    assert sum(counts) == 3
    assert counts[watch.latency["transactions"].bounds.index(60.0)] == 3
    assert seconds == pytest.approx(120, abs=5)


def test_each_run_of_a_batch_counts_for_its_topic_and_waited_as_its_own_first():
    watch = RoleWatch("score")
    watch.passage(records(2, seconds_ago=40.0), records(3), records(1, "labels")).done()
    assert watch.records == {"transactions": 5, "labels": 1}
    counts, _ = watch.latency["transactions"].read()
    assert counts[watch.latency["transactions"].bounds.index(60.0)] == 2
    assert sum(counts) == 5


def test_a_clock_that_is_ahead_of_ours_makes_no_negative_wait():
    watch = RoleWatch("score")
    watch.passage(records(1, seconds_ago=-30)).done()
    assert watch.latency["transactions"].read()[1] == 0


def test_a_stage_that_raises_is_not_counted():
    watch = RoleWatch("score")
    passing = watch.passage(records(1))
    with pytest.raises(ValueError, match="broken"), passing.stage("decode"):
        raise ValueError("broken")
    assert passing.spans == []


def test_nobody_watching_keeps_nothing():
    passing = UNWATCHED.passage(records(1))
    with passing.stage("decode"):
        pass
    passing.done()
    assert passing is UNWATCHED.passage(records(1))
