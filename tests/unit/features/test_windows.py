"""Windows over one entity's records, against the plain definition."""

from __future__ import annotations

from array import array
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.windows import COMPACT_AT, NEVER, Log, Shape

SHAPE = Shape(windows=(10, 100), keep_us=1000, idle_us=10_000, records=10_000)
FULL = msgspec.structs.replace(SHAPE, extremes=True, squares=True, starts=True, fields=(0,))
READER = (2,)
"""The values of the event that is read for."""


def filled(records, shape=SHAPE):
    log = Log(shape)
    for tie, (time, amount) in enumerate(records):
        log.insert(shape, time, tie, amount, (amount,))
    return log


def read(log, now, shape=SHAPE):
    out = []
    log.read(shape, now, out, READER)
    return out


def plainly(records, now, shape):
    inside = [[amount for time, amount in records if now - window < time <= now] for window in shape.windows]
    out = [number for amounts in inside for number in (len(amounts), sum(amounts))]
    if shape.extremes:
        out += [number for amounts in inside for number in (min(amounts, default=0), max(amounts, default=0))]
    if shape.squares:
        out += [sum(amount**2 for amount in amounts) for amounts in inside]
    if shape.starts:
        times = [[time for time, _ in records if now - window < time <= now] for window in shape.windows]
        out += [min(each, default=NEVER) for each in times]
    for amounts in inside if shape.fields else ():
        counts = Counter(amount for amount in amounts if amount)
        alike = sum(count**2 for count in counts.values())
        out += [counts.total(), len(counts), alike, counts[READER[0]]]
    return out


TIMES = st.integers(0, 150)
STEPS = st.lists(
    st.tuples(st.sampled_from(["insert", "insert", "read"]), TIMES, st.integers(-3, 3)), max_size=40
)


@settings(max_examples=200)
@given(steps=STEPS, in_order=st.booleans(), shape=st.sampled_from([SHAPE, FULL]))
def test_any_order_of_adding_and_reading_answers_by_the_definition(steps, in_order, shape):
    log, records = Log(shape), []
    for tie, (step, time, amount) in enumerate(
        sorted(steps, key=lambda each: each[1]) if in_order else steps
    ):
        if step == "insert":
            log.insert(shape, time, tie, amount, (amount,))
            records.append((time, amount))
        else:
            assert read(log, time, shape) == plainly(records, time, shape)
    assert read(log, 200, shape) == plainly(records, 200, shape)


@given(records=st.lists(st.tuples(TIMES, st.integers(-3, 3)), max_size=20), now=TIMES)
def test_a_look_with_a_record_that_is_not_there_answers_as_if_it_were_and_moves_nothing(records, now):
    log, out = filled(records, FULL), []
    before = read(log, 150, FULL)
    log.peek(FULL, now, out, READER, READER[0])
    assert out == plainly([*records, (now, READER[0])], now, FULL)
    assert read(log, 150, FULL) == before


def test_a_window_is_open_where_it_begins_and_closed_where_it_ends():
    log = filled([(0, 1), (10, 2)])
    assert read(log, 9)[:2] == [1, 1]
    assert read(log, 10)[:2] == [1, 2]


def test_the_order_of_adding_does_not_change_which_records_stay():
    shape = msgspec.structs.replace(SHAPE, records=3)
    records = [(5, 0, 1), (5, 1, 2), (5, 2, 4), (7, 3, 8), (1, 4, 16)]
    kept = set()
    for order in (records, records[::-1], records[2:] + records[:2]):
        log = Log(shape)
        for time, tie, amount in order:
            log.insert(shape, time, tie, amount)
            log.trim(shape)
        kept.add((tuple(log.amounts[log.head :]), log.floor))
    assert kept == {((2, 4, 8), (5, 0))}


def test_records_beyond_the_bounds_leave_and_are_told_of():
    log = filled([(0, 1)])
    assert not log.trim(SHAPE)
    log.insert(SHAPE, 1000, 9, 2)
    assert log.trim(SHAPE)
    assert (log.floor, read(log, 1000)) == ((0, 0), [1, 2, 1, 2])
    assert [log.beyond(SHAPE, now, [0] * 4, 0) for now in (99, 100)] == [1_000_000, None]


def test_the_record_before_is_known_even_after_it_left():
    log = filled([(0, 1), (2000, 2)])
    log.trim(SHAPE)
    assert [log.last(time) for time in (3000, 2000, 1999, 0, -1)] == [2000, 2000, 0, 0, NEVER]


def test_the_beginning_is_known_even_after_it_left():
    log = filled([(5, 1), (3, 1)])
    log.insert(SHAPE, 5000, 9, 1)
    log.trim(SHAPE)
    assert [log.began(time) for time in (2, 3, 6000)] == [NEVER, 3, 3]
    assert Log(SHAPE).began(0) == NEVER


def test_an_endless_log_holds_no_more_than_its_bounds():
    shape = msgspec.structs.replace(FULL, keep_us=200)
    log = Log(shape)
    for time in range(0, 20_000, 2):
        log.insert(shape, time, 0, time, (time,))
        read(log, time, shape)
        log.trim(shape)
    assert len(log.times) <= 2 * max(101, COMPACT_AT)
    assert sum(len(values.counts) for counters in log.counters for values in counters) == 5 + 50


class Counting(array):
    """An array that counts how often it is looked into."""

    looks = 0

    def __getitem__(self, at):
        Counting.looks += len(range(*at.indices(len(self)))) if isinstance(at, slice) else 1
        return super().__getitem__(at)


@pytest.mark.parametrize("windows", [(10, 100), (10, 100_000)])
def test_an_event_in_order_costs_the_same_whatever_the_windows_length(windows):
    shape = msgspec.structs.replace(SHAPE, windows=windows, keep_us=1_000_000)
    log = Log(shape)
    log.times, log.amounts = Counting("q"), Counting("q")
    Counting.looks = 0
    for time in range(2000):
        log.insert(shape, time, 0, 1)
        read(log, time, shape)
        log.trim(shape)
    assert Counting.looks < 2000 * 15
