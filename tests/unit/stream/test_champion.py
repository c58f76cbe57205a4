"""Which model decides: the newest on the topic that can be used; one that cannot is refused, and the champion stays."""

import logging
import math
import time

import pytest

from models.base import MEASURES, SEQUENCE
from models.codec import load_scorer
from models.ensemble import EnsembleScorer, taken_over
from models.incremental import RiverScorer
from models.snapshot import Snapshot, SnapshotError
from stream.champion import MODEL, Contest, Pinned, champion_from_file, champion_of, resumed
from stream.contest import Published
from stream.pipeline import NOBODY
from stream.signing import Signer
from tests.unit.stream.models_fakes import HASHES, KEY, Machine, Topic, snapshot
from tests.unit.stream.models_fakes import MODEL as NULL


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "keys").learner()


@pytest.fixture
def contest(machine):
    return contest_on(machine)


def contest_on(machine):
    return Contest(machine.trusted(), "f", HASHES, NULL)


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
        (
            lambda machine: machine.sign(snapshot(2, names=("a", "c"), hashes={"a": "a1", "c": "c1"})),
            "null-2 reads c, which the profile does not declare: declare it as it was, or train a new model",
        ),
        (
            lambda machine: machine.sign(snapshot(2, hashes=HASHES | {"b": "b0"})),
            "null-2 reads b, which measures something else now",
        ),
        (lambda machine: machine.sign(snapshot(2), "other"), "is of the model 'other', and stands under"),
    ],
    ids=[
        "corrupt",
        "truncated",
        "stub",
        "empty",
        "unsigned",
        "unknown",
        "features",
        "names",
        "gone",
        "changed",
        "renamed",
    ],
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
    champion = champion_of(snapshot(1), "f", HASHES)
    assert Pinned(champion).newest() is champion


def test_a_file_with_one_changed_byte_is_refused(tmp_path):
    file = tmp_path / "model.weir"
    data = bytearray(snapshot(7).encode())
    file.write_bytes(data)
    assert champion_from_file(file, "f", HASHES).version == "null-7"
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(SnapshotError):
        champion_from_file(file, "f", HASHES)


MORE = {"new": "n1", "b": "b1", "other": "o1", "a": "a1"}
"""What a profile declares that has the old features, in another order, and two more."""


def snapshot_of(scorer, labels, hashes):
    return Snapshot.of(
        scorer,
        number=3,
        features_version="old",
        threshold=0.25,
        learned=labels,
        positions={},
        made_at="2026-01-01T00:00:00+00:00",
        hashes=hashes,
    )


def taught(features, labels=400):
    """The snapshot of a model that knows that fraud is where a is high, and nothing of the rest."""
    scorer = RiverScorer(features, first=50)
    for number in range(labels):
        scorer.learn_one([float(number % 20)] * len(features), fraud=number % 20 > 15)
    return snapshot_of(scorer, labels, HASHES)


def test_a_model_decides_on_when_features_are_added_and_reads_its_own_by_name():
    made = taught(("a", "b"))
    alone, among = champion_of(made, "old", HASHES).scorer, champion_of(made, "new", MORE).scorer
    wide = [(math.nan, 2.0 * number, 1e9, float(number)) for number in range(40)]
    narrow = [(vector[3], vector[1]) for vector in wide]
    assert among.score_many(wide) == alone.score_many(narrow)
    assert [among.score_one(each) for each in wide] == alone.score_many(narrow)
    assert among.explain_one(wide[19]) == alone.explain_one(narrow[19])


def test_a_model_of_one_feature_reads_it_out_of_many():
    made = snapshot(1, "old", names=("b",), hashes={"b": "b1"})
    assert champion_of(made, "new", MORE).scorer.score_one((1.0, 2.0, 3.0, 4.0)) == 0.5


def test_learning_goes_on_with_what_was_known_of_the_features_that_stayed():
    old, made = taught(("a", "b")), champion_of(taught(("a", "b")), "old", HASHES).scorer
    scorer = resumed(old, "new", MORE)
    assert scorer.features == tuple(MORE)
    for number in range(20):
        wide = (math.nan, float(number), 7.0, float(number))
        assert scorer.score_one(wide) == pytest.approx(
            made.score_one((float(number), float(number))), abs=1e-12
        )
    for number in range(4_000):
        value = float(number % 20)
        scorer.learn_one((float(number % 7), value, value, value), fraud=number % 7 == 6)
    assert scorer.score_one((6.0, 1.0, 1.0, 1.0)) > 4 * scorer.score_one((2.0, 1.0, 1.0, 1.0)), "the new one"
    saved = champion_of(learned_on(scorer), "new", MORE).scorer
    assert saved.score_one((6.0, 1.0, 1.0, 1.0)) == scorer.score_one((6.0, 1.0, 1.0, 1.0))


def learned_on(scorer):
    return Snapshot.of(
        scorer,
        number=4,
        features_version="new",
        threshold=0.25,
        learned=3_400,
        positions={},
        made_at="2026-01-01T00:00:00+00:00",
        hashes=MORE,
    )


def test_a_learner_without_bins_yet_goes_on_too():
    scorer = resumed(taught(("a", "b"), labels=30), "new", MORE)
    assert scorer.score_one((0.0,) * 4) == champion_of(
        taught(("a", "b"), labels=30), "old", HASHES
    ).scorer.score_one((0.0, 0.0))
    scorer.learn_one((1.0,) * 4, True)


def test_what_cannot_be_gone_on_with_begins_anew(caplog):
    assert resumed(taught(("a", "b")), "new", {"c": "c1"}) is None
    assert resumed(taught(("a", "b")), "new", {"a": "a2", "b": "b2"}) is None
    assert resumed(snapshot(1, "old"), "new", HASHES) is None, "it does not say what its features measure"
    assert "learning begins anew" in caplog.text


def test_where_nothing_changed_but_the_windows_bound_all_is_gone_on_with():
    made = taught(("a", "b"))
    assert resumed(made, "new", HASHES).dump() == made.scorer


# --- with a network


def stacked(features=("a", "b"), labels=400):
    """The snapshot of an ensemble that has learned."""
    scorer = EnsembleScorer(features, river=RiverScorer(features, first=50))
    for number in range(labels):
        fraud = number % 20 > 15
        scorer.learn_one((*[float(number % 20)] * len(features), 0.8 if fraud else 0.1), fraud)
    return snapshot_of(scorer, labels, {**HASHES, **MEASURES})


@pytest.mark.parametrize("version", ["old", "new"])
def test_an_ensemble_decides_behind_features_whether_or_not_there_is_a_network(version):
    made = stacked()
    inner = load_scorer(made.scorer, made.features)
    hashes = HASHES if version == "old" else MORE
    for declared in (hashes, {**hashes, **MEASURES}):
        scorer = champion_of(made, version, declared).scorer
        wide = {"old": (3.0, 4.0), "new": (math.nan, 4.0, 9.0, 3.0)}[version]
        for network in (0.6, math.nan):
            assert scorer.score_one((*wide, network)) == inner.score_one((3.0, 4.0, network))
        assert SEQUENCE in scorer.features


def test_a_river_decides_on_where_a_network_is_new_and_reads_features_alone():
    scorer = champion_of(taught(("a", "b")), "old", {**HASHES, **MEASURES}).scorer
    assert isinstance(scorer, RiverScorer), "nothing is in between that costs"


def test_a_network_that_measures_something_else_is_refused(monkeypatch):
    made = stacked()
    monkeypatch.setitem(MEASURES, SEQUENCE, "expected loss")
    with pytest.raises(SnapshotError, match="score:sequence, which measures something else now"):
        champion_of(made, "old", HASHES)


def test_learning_goes_on_from_an_ensemble_with_other_features_and_its_stack():
    old = stacked()
    before = load_scorer(old.scorer, old.features)
    scorer = resumed(old, "new", {**MORE, **MEASURES})
    assert scorer.features == (*MORE, SEQUENCE)
    assert scorer.weights() == before.weights()
    wide = (math.nan, 4.0, 9.0, 3.0, 0.5)
    assert scorer.score_one(wide) == pytest.approx(before.score_one((3.0, 4.0, 0.5)), abs=1e-12)
    scorer.learn_one(wide, True)


@pytest.mark.parametrize("version", ["old", "new"])
def test_a_network_may_come_and_go_and_river_keeps_all_it_knows(version):
    hashes = HASHES if version == "old" else MORE
    with_it, names = {**hashes, **MEASURES}, tuple(hashes)
    came = taken_over(resumed(taught(("a", "b")), version, with_it), EnsembleScorer(names))
    alone = resumed(taught(("a", "b")), version, hashes)
    assert came.river.dump() == alone.dump()
    went = taken_over(resumed(stacked(), version, hashes), RiverScorer(names))
    stayed = taken_over(resumed(stacked(), version, with_it), EnsembleScorer(names))
    assert went.dump() == stayed.river.dump()
    assert went.features == names
