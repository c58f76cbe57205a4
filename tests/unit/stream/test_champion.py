"""Which model decides: the newest on the topic that can be used; one that cannot is refused, and the champion stays."""

import logging
import time

import pytest

from models.snapshot import SnapshotError
from stream.champion import MODEL, Contest, Pinned, Published, champion_from_file, champion_of
from stream.pipeline import NOBODY
from stream.signing import Signer
from tests.unit.stream.models_fakes import KEY, NAMES, Machine, Topic, snapshot
from tests.unit.stream.models_fakes import MODEL as NULL


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "keys").learner()


@pytest.fixture
def contest(machine):
    return contest_on(machine)


def contest_on(machine):
    return Contest(machine.trusted(), "f", NAMES, NULL)


def said(contest, *values, key=KEY):
    """The version that decides after these records, read at once."""
    topic = Topic()
    for value in values:
        topic.put(value, key)
    contest.take(topic.records)
    return contest.champion.version


def test_before_the_first_snapshot_nobody_decides(contest):
    assert contest.champion is NOBODY


def test_the_newest_snapshot_decides_with_its_own_threshold(contest, machine):
    assert said(contest, machine.sign(snapshot(3))) == "null-3"
    assert (contest.champion.threshold, contest.champion.rung) == (0.25, "river")
    assert said(contest, *(machine.sign(snapshot(number)) for number in (4, 5))) == "null-5"


def test_of_many_that_stand_there_only_the_newest_is_loaded(contest, machine, monkeypatch):
    loaded = []
    monkeypatch.setattr("stream.champion.champion_of", lambda s, *_: loaded.append(s.number) or NOBODY)
    said(contest, *(machine.sign(snapshot(number)) for number in range(1, 9)))
    assert loaded == [8]


def changed(value):
    return value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda machine: changed(machine.sign(snapshot(2))), "changed or cut short"),
        (lambda machine: machine.sign(snapshot(2))[:-50], "changed or cut short"),
        (lambda machine: machine.sign(snapshot(2))[:40], "cut short: 40 bytes"),
        (lambda machine: b"", "no signed snapshot"),
        (lambda machine: snapshot(2).encode(), "no signed snapshot"),
        (lambda machine: Signer.fresh().sign(NULL, snapshot(2)), "not among the trusted"),
        (lambda machine: machine.sign(snapshot(2, "other")), "learned on the features other, the profile"),
        (lambda machine: machine.sign(snapshot(2, names=("a", "c"))), "the null scorer reads a, c"),
        (lambda machine: machine.sign(snapshot(2), "other"), "is of the model 'other', and stands under"),
    ],
    ids=["corrupt", "truncated", "stub", "empty", "unsigned", "unknown", "features", "names", "renamed"],
)
def test_one_that_cannot_be_used_is_refused_with_the_reason_and_the_champion_stays(
    contest, machine, caplog, bad, why
):
    said(contest, machine.sign(snapshot(1)))
    with caplog.at_level(logging.ERROR):
        assert said(contest, bad(machine)) == "null-1"
    assert "is refused and null-1 stays: " in caplog.text
    assert why in caplog.text
    assert contest.refused == 1
    assert said(contest, machine.sign(snapshot(3))) == "null-3"


def test_a_bad_one_behind_a_good_one_costs_a_starting_scorer_nothing(contest, machine):
    assert said(contest, machine.sign(snapshot(1)), machine.sign(snapshot(2, "other")), b"") == "null-1"


def test_an_older_one_that_is_sent_again_is_refused(contest, machine, caplog):
    old = machine.sign(snapshot(4))
    assert said(contest, old, machine.sign(snapshot(5))) == "null-5"
    assert said(contest, old) == "null-5"
    assert "null-4 (made 2026" in caplog.text
    assert said(contest, old, machine.sign(snapshot(6)), old) == "null-6"


def test_the_same_one_sent_again_is_no_news_and_no_fault(contest, machine):
    value = machine.sign(snapshot(4))
    said(contest, value)
    champion = contest.champion
    said(contest, value)
    assert contest.champion is champion
    assert contest.refused == 0


def test_a_number_that_comes_with_another_content_is_refused(contest, machine):
    said(contest, machine.sign(snapshot(4)))
    said(contest, machine.sign(snapshot(4, learned=99)))
    assert contest.refused == 1


def test_other_models_on_the_topic_are_passed_over(contest, machine):
    assert said(contest, machine.sign(snapshot(9), "shadow"), key=b"shadow") == "none"
    assert contest.refused == 0


def test_a_key_that_is_trusted_later_lets_in_what_was_refused(machine):
    topic, other = Topic(), Signer.fresh()
    topic.put(machine.sign(snapshot(1)))
    topic.put(other.sign(NULL, snapshot(2)))
    contest = contest_on(machine)
    contest.begin()
    contest.take(topic.records)
    assert contest.champion.version == "null-1"
    machine.trusted().add(other.public)
    assert contest.again()
    contest.begin()
    contest.take(topic.records)
    assert contest.champion.version == "null-2"


def test_what_a_stolen_key_signed_stays_only_until_something_trusted_comes_whatever_its_number(
    contest, machine, caplog
):
    thief = Signer.fresh()
    machine.trusted().add(thief.public)
    contest.again()
    said(contest, machine.sign(snapshot(7)), thief.sign(NULL, snapshot(999)))
    assert contest.champion.version == "null-999"
    machine.trusted().revoke(thief.public.id)
    assert contest.again()
    assert "null-999 decides, and the key" in caplog.text
    contest.begin()
    assert said(contest, thief.sign(NULL, snapshot(999))) == "null-999", "better than none"
    assert said(contest, machine.sign(snapshot(8))) == "null-8"
    assert said(contest, thief.sign(NULL, snapshot(1000))) == "null-8"


def test_reading_anew_goes_back_to_no_older_one(contest, machine):
    """A replayed one may be all that compaction left."""
    said(contest, machine.sign(snapshot(5)))
    machine.trusted().add(Signer.fresh().public)
    contest.again()
    contest.begin()
    assert said(contest, machine.sign(snapshot(3))) == "null-5"


def eventually(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_scorer_starts_with_what_stands_there_follows_and_outlives_a_log_that_fails(machine, monkeypatch):
    monkeypatch.setattr("stream.follow.RETRY_SECONDS", 0.01)
    topic = Topic()
    topic.put(machine.sign(snapshot(1)))
    feed = Published(topic.tail, contest_on(machine))
    assert feed.newest().version == "null-1"
    topic.failing = OSError("the disk is gone")
    time.sleep(0.05)
    topic.put(machine.sign(snapshot(2)))
    assert feed.newest().version == "null-1"
    topic.failing = None
    eventually(lambda: feed.newest().version == "null-2")
    machine.key.rotate(machine.trusted())
    topic.put(machine.sign(snapshot(3)))
    eventually(lambda: feed.newest().version == "null-3")
    feed.close()


def test_a_log_that_cannot_be_read_at_the_start_stops_the_scorer(machine):
    topic = Topic()
    topic.put(b"")
    topic.failing = OSError("the disk is gone")
    with pytest.raises(OSError, match="the disk is gone"):
        Published(topic.tail, contest_on(machine))


def test_the_champion_is_the_learners_model():
    from models.incremental import RiverScorer

    assert RiverScorer.name == MODEL


def test_a_pinned_champion_stays_for_ever():
    champion = champion_of(snapshot(1), "f", NAMES)
    assert Pinned(champion).newest() is champion


def test_a_file_with_one_changed_byte_is_refused(tmp_path):
    file = tmp_path / "model.weir"
    data = bytearray(snapshot(7).encode())
    file.write_bytes(data)
    assert champion_from_file(file, "f", NAMES).version == "null-7"
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(SnapshotError):
        champion_from_file(file, "f", NAMES)
