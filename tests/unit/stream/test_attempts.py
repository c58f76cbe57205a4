"""A record that ends whoever takes it in hand is found, and set aside; nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.store import StoreUnavailable
from stream.attempts import Attempts
from stream.records import TP, Record

A, B = TP("transactions", 0), TP("labels", 0)
FAULT = ValueError("4111 1111 1111 1111 is odd")


def run(first, last, tp=A):
    return [Record(tp.topic, tp.partition, offset, None, b"", (), 0) for offset in range(first, last + 1)]


def life(directory, records, dies_of=None, how=FAULT, committed=0):
    """A worker takes pieces in hand, one after the other; gives those it got, and whether it died."""
    attempts = Attempts(directory, "g")
    attempts.begin({A: committed})
    got = []
    try:
        for piece in attempts.pieces(A, records):
            got.append(piece)
            attempts.has({A: (piece.records[0].offset, piece.records[-1].offset)})
            if not piece.condemned and any(each.offset == dies_of for each in piece.records):
                if how is not None:
                    attempts.died(how)
                return got, True
            attempts.has({A: None})
        attempts.ended()
        return got, False
    finally:
        attempts._file.close()  # what the end of a process does


def deaths(directory, records, dies_of, how=FAULT):
    for count in range(20):
        got, died = life(directory, records, dies_of, how)
        if not died:
            return count, [piece for piece in got if piece.condemned]
    raise AssertionError("it ends worker after worker")


@given(size=st.integers(1, 1_000), data=st.data())
def test_the_record_that_raises_is_found_within_three_deaths_and_it_alone(tmp_path_factory, size, data):
    bad = data.draw(st.integers(0, size - 1))
    count, (piece,) = deaths(tmp_path_factory.mktemp("attempts"), run(0, size - 1), bad)
    assert count <= 3
    assert [record.offset for record in piece.records] == [bad]


def test_what_was_in_hand_beside_the_record_that_raises_is_not_condemned(tmp_path):
    attempts = Attempts(tmp_path, "g")
    attempts.has({A: (5, 5)})
    attempts.has({B: (0, 0)})
    attempts.died(FAULT)
    attempts._file.close()
    assert life(tmp_path, run(5, 5), dies_of=5)[1]  # alone now
    attempts = Attempts(tmp_path, "g")
    assert [bool(piece.condemned) for piece in attempts.pieces(A, run(5, 5))] == [True]
    assert [bool(piece.condemned) for piece in attempts.pieces(B, run(0, 0, B))] == [False]
    attempts._file.close()


def test_one_death_condemns_nobody(tmp_path):
    life(tmp_path, run(5, 5), dies_of=5)
    (piece,) = life(tmp_path, run(5, 5))[0]
    assert (piece.suspected, piece.condemned) == (True, "")


def test_the_record_that_kills_in_silence_is_found_too(tmp_path):
    count, (piece,) = deaths(tmp_path, run(0, 499), 77, how=None)
    assert count <= 5
    assert [record.offset for record in piece.records] == [77]


def test_the_reason_names_the_fault_and_its_place_and_not_its_words(tmp_path):
    _, (piece,) = deaths(tmp_path, run(5, 5), 5)
    assert "ValueError" in piece.condemned
    assert "4111" not in piece.condemned


def test_what_the_surroundings_do_condemns_nobody(tmp_path):
    for _ in range(10):
        got, died = life(tmp_path, run(0, 9), dies_of=3, how=StoreUnavailable("it is away"))
        assert died
        assert [len(piece.records) for piece in got] == [10]


def test_nothing_is_lost_and_the_order_is_kept_however_a_run_is_cut(tmp_path):
    life(tmp_path, run(10, 60), dies_of=30)
    got, _ = life(tmp_path, run(0, 99))
    assert [record.offset for piece in got for record in piece.records] == list(range(100))
    assert [piece.suspected for piece in got] == [False, *[True] * (len(got) - 2), False]


def test_what_was_committed_is_suspected_no_more(tmp_path):
    life(tmp_path, run(10, 60), dies_of=30)
    life(tmp_path, run(61, 70), committed=61)
    got, _ = life(tmp_path, run(0, 99))
    assert len(got) == 1


def test_an_end_in_good_order_says_nothing_of_what_was_in_hand(tmp_path):
    attempts = Attempts(tmp_path, "g")
    attempts.has({A: (0, 9)})
    attempts.ended()
    attempts._file.close()
    assert len(life(tmp_path, run(0, 99))[0]) == 1


def test_two_workers_have_a_file_each_and_learn_of_each_other(tmp_path):
    one, two = Attempts(tmp_path, "g"), Attempts(tmp_path, "g")
    one.has({A: (0, 9)})
    one.died(FAULT)
    one._file.close()
    two.begin({A: 0})
    assert len(list(two.pieces(A, run(0, 99)))) == 1  # nobody has read yet what the first died of
    three = Attempts(tmp_path, "g")
    two.begin({A: 0})
    assert len(list(two.pieces(A, run(0, 99)))) == 11
    for each in (two, three):
        each._file.close()


def test_a_worker_that_is_started_again_takes_the_file_of_the_one_before(tmp_path):
    for _ in range(3):
        life(tmp_path, run(0, 9))
    assert [path.name for path in tmp_path.glob("*.hand")] == ["g-0.hand"]


def test_another_partition_is_not_suspected(tmp_path):
    life(tmp_path, run(0, 9), dies_of=3)
    attempts = Attempts(tmp_path, "g")
    assert len(list(attempts.pieces(B, run(0, 9, B)))) == 1
    attempts._file.close()


@pytest.mark.parametrize("what", [OSError("no space"), MemoryError()])
def test_disks_and_memory_are_surroundings(tmp_path, what):
    assert life(tmp_path, run(0, 9), dies_of=3, how=what)[1]
    assert len(life(tmp_path, run(0, 9))[0]) == 1
