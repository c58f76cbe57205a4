"""Labels of one entity: which count, and what they end with."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.labelled import LabelLog
from features.windows import NEVER, Shape

SHAPE = Shape(windows=(10, 100), keep_us=1000, idle_us=10_000, records=10_000)
RUNS = msgspec.structs.replace(SHAPE, runs=True)


def filled(records, shape=SHAPE):
    log = LabelLog(shape)
    for tie, (time, fraud) in enumerate(records):
        log.insert(shape, time, tie, fraud)
    return log


def labels_of(log, now):
    out = []
    log.read_labels(SHAPE, now, out)
    return out


def test_a_label_taken_back_counts_until_its_correction_arrives_and_never_less_than_nothing():
    log = filled([(0, 1), (5, 0)])
    log.take_back(b"first", 0, 0, 1, until=5)
    assert [labels_of(log, now) for now in (4, 5, 9, 10)] == [
        [1, 1, 1, 1],
        [1, 0, 1, 0],
        [1, 0, 1, 0],
        [1, 0, 1, 0],
    ]
    assert labels_of(log, 4) == [1, 1, 1, 1]


def test_a_label_that_is_not_there_cannot_be_taken_back():
    log = filled([(0, 1)])
    log.take_back(b"other", 0, 7, 1, until=1)
    log.take_back(b"older", -5, 0, 1, until=1)
    assert labels_of(log, 2) == [1, 1, 1, 1]


def test_of_several_corrections_the_earliest_holds_whatever_their_order():
    for moments in ((3, 6), (6, 3)):
        log = filled([(0, 1)])
        for moment in moments:
            log.take_back(b"first", 0, 0, 1, until=moment)
        assert [labels_of(log, now)[0] for now in (2, 3, 6)] == [1, 0, 0]


def test_corrections_leave_with_their_labels():
    log = filled([(0, 1)])
    log.take_back(b"first", 0, 0, 1, until=1)
    log.insert(SHAPE, 5000, 1, 0)
    log.trim(SHAPE)
    assert log.taken_back == {}


def run_of(log, now):
    out = []
    log.read_labels(RUNS, now, out)
    kind, length, *ages = out[4:]
    return (kind, length, *[now - age if age != NEVER else NEVER for age in ages])


@pytest.mark.parametrize(
    ("records", "run"),
    [
        ([], (-1, 0, NEVER, NEVER, NEVER)),
        ([(1, 0)], (0, 1, 1, 1, NEVER)),
        ([(1, 1), (2, 0), (3, 1), (4, 1)], (1, 2, 3, 4, 2)),
        ([(3, 1), (4, 1), (1, 1), (2, 0)], (1, 2, 3, 4, 2)),
    ],
)
def test_labels_end_with_a_run_whatever_the_order_they_came_in(records, run):
    assert run_of(filled(records, RUNS), 10) == run


def test_a_label_taken_back_is_in_no_run():
    log = filled([(1, 1), (2, 0), (3, 1)], RUNS)
    log.take_back(b"the second", 2, 1, 0, until=5)
    assert [run_of(log, now) for now in (4, 5, 4)] == [(1, 1, 3, 3, 2), (1, 2, 1, 3, NEVER), (1, 1, 3, 3, 2)]


LABELS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 1)), max_size=30)


@settings(max_examples=300)
@given(
    labels=LABELS, reads=st.lists(st.integers(0, 60), max_size=30), records=st.sampled_from([1, 2, 4, 100])
)
def test_a_run_that_is_carried_on_is_the_one_that_is_looked_up(labels, reads, records):
    log, shape = LabelLog(RUNS), msgspec.structs.replace(RUNS, records=records)
    for tie, (time, fraud) in enumerate(labels):
        log.insert(shape, time, tie, fraud)
        log.trim(shape)
        if tie < len(reads):
            assert run_of(log, reads[tie]) == log._look_up_run(reads[tie], ())
    assert run_of(log, 60) == log._look_up_run(60, ())
