"""Where a worker begins: never behind what its store holds, and never silently behind what the log let go."""

import pytest

from stream.records import TP, Record
from stream.start import DATABASE, LogExpired, LogShort, Start

A, B = TP("transactions", 0), TP("labels", 1)
NEED = 100


def log_of(arrivals, first=0):
    """As Progress.record_at answers for a partition whose records arrived then, the first at offset `first`."""

    def record_at(tp, offset):
        at = max(offset, first)
        if at - first >= len(arrivals):
            return None
        headers = (("arrived", b"%d" % arrivals[at - first]),)
        return Record(tp.topic, tp.partition, at, None, b"", headers, 0)

    return record_at


def begin(commit, held, oldest=0, **more):
    rule = Start(held=lambda: {} if held is None else {A: held}, need_us=NEED, **more)
    return rule.offsets({A: commit}, {A: oldest})[A]


@pytest.mark.parametrize(
    ("commit", "held", "expected"),
    [
        (0, None, 0),  # the very first start
        (100, 100, 100),
        (100, 130, 100),  # applied, and not decided yet
        (100, 70, 70),  # the store lost 30
        (100, None, 0),  # the store lost everything
        (0, 130, 0),  # the group never committed, or the log forgot that it did
    ],
)
def test_a_partition_is_read_from_the_lower_of_its_commit_and_what_the_store_holds(commit, held, expected):
    assert begin(commit, held) == expected


def test_each_partition_has_its_own_place():
    rule = Start(held=lambda: {A: 7, B: 9})
    assert rule.offsets({A: 10, B: 5}, {A: 0, B: 0}) == {A: 7, B: 5}


def test_a_role_without_state_of_its_own_begins_at_its_commit():
    assert Start().offsets({A: 10, B: 0}, {A: 3, B: 4}) == {A: 10, B: 0}


def test_the_very_first_start_takes_the_log_as_it_is():
    assert begin(0, None, oldest=50) == 0


@pytest.mark.parametrize(("commit", "held"), [(40, 45), (0, 40)])
def test_records_that_nobody_decided_and_that_left_the_log_are_told(commit, held):
    with pytest.raises(LogExpired, match=r"transactions\[0\]: the records from offset 40 up to 50 .* unread"):
        begin(commit, held, oldest=50)


def test_a_role_without_state_is_told_too():
    with pytest.raises(LogExpired, match=r"from offset 40 up to 50 .*WEIR_ACCEPT_GAP=1"):
        Start().offsets({A: 40}, {A: 50})


@pytest.mark.parametrize(("held", "named"), [(30, 30), (None, 0)])
def test_records_that_the_store_needs_again_and_that_left_the_log_are_told(held, named):
    record_at = log_of(range(950, 1050), first=50)
    with pytest.raises(LogExpired, match=rf"from offset {named} on.*begins at 50.*WEIR_ACCEPT_GAP=1"):
        begin(100, held, oldest=50, record_at=record_at)


@pytest.mark.parametrize("commit", [100, 120])
def test_what_left_the_log_and_is_older_than_anything_can_need_is_no_loss(commit):
    """100: the next to be decided arrived at 1200. 120: the newest did, and the next comes after it."""
    arrivals = [*range(1000, 1050), *[1200] * 20]
    assert begin(commit, None, oldest=50, record_at=log_of(arrivals, first=50)) == 0
    arrivals[0] = 1200 - NEED + 1
    with pytest.raises(LogExpired):
        begin(commit, None, oldest=50, record_at=log_of(arrivals, first=50))


def test_a_log_that_let_everything_go_cannot_make_the_store_again():
    with pytest.raises(LogExpired):
        begin(100, None, oldest=100, record_at=log_of([], first=100))


def test_a_gap_that_was_accepted_is_logged_and_the_worker_goes_on(caplog):
    assert begin(100, 30, oldest=50, accept_gap=True) == 30
    assert "accepted, as WEIR_ACCEPT_GAP says (unset it now): transactions[0]" in caplog.text


def test_an_arrival_that_cannot_be_read_stops_nobody():
    def record_at(tp, offset):
        return Record(tp.topic, 0, offset, None, b"", (("arrived", b"nonsense"),), offset)

    assert begin(100, None, oldest=50, record_at=record_at) == 0


def test_what_is_read_again_is_logged(caplog):
    begin(100, 70)
    begin(100, None)
    begin(100, 100)
    assert [record.getMessage() for record in caplog.records] == [
        "transactions[0]: the feature store holds it up to 70, not up to 100, so it is read again from there",
        "transactions[0]: the feature store knows nothing of it, so all of it is read again",
    ]


def test_what_a_database_lost_is_read_again_or_told_as_its_own(caplog):
    rule = Start(held=lambda: {A: 70}, keeper=DATABASE)
    assert rule.offsets({A: 100}, {A: 70})[A] == 70
    assert "the database holds it up to 70, not up to 100" in caplog.text
    with pytest.raises(
        LogExpired, match=r"the database has lost .* offset 70 on, .* begins at 71.*weir restore"
    ):
        rule.offsets({A: 100}, {A: 71})


@pytest.mark.parametrize(
    ("commit", "held", "who"),
    [(101, 100, "this group has committed up to 101"), (100, 130, "the feature store holds it up to 130")],
)
def test_a_log_that_ends_before_what_was_made_of_it_is_refused_whatever_was_accepted(commit, held, who):
    rule = Start(held=lambda: {A: held}, accept_gap=True)
    starts = rule.offsets({A: commit}, {A: 0})
    with pytest.raises(
        LogShort, match=rf"transactions\[0\]: the log ends at offset 100, but {who}: .*WEIR_TOPIC_PREFIX"
    ):
        rule.refuse_another_log(starts, {A: 100})


@pytest.mark.parametrize("held", [None, lambda: {A: 100}])
def test_a_log_that_ends_where_everything_was_done_is_the_same_one(held):
    rule = Start(held=held)
    starts = rule.offsets({A: 100}, {A: 0})
    rule.refuse_another_log(starts, {A: 100})
