"""The learner's way to the scorers: the topic shows the ledger's newest snapshot, whatever died or was written in between."""

import pytest

from stream.publishing import PATIENCE_SECONDS, Publishing, signers_on
from stream.signing import Signer, opened
from tests.unit.stream.models_fakes import MODEL, Machine, Topic, snapshot


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "keys").learner()


@pytest.fixture
def topic():
    return Topic()


class Learner:
    """A learner on a machine; its clock stands until it is moved."""

    def __init__(self, machine, topic):
        self.now = 0.0
        self.machine, self.topic = machine, topic
        self.publishing = Publishing(
            topic, "models", machine.key, machine.trusted(), topic.tail, model=MODEL, clock=lambda: self.now
        )
        self.tail = topic.tails[-1]

    def publish(self, made):
        self.publishing.publish(made, self.publishing.signed(made))

    def tend_later(self):
        """When patience is over, and its thread has seen what stands on the topic."""
        self.now += PATIENCE_SECONDS
        self.topic.read_by(self.tail)
        self.publishing.tend()

    def shown(self):
        """Number and key of the records on the topic."""
        found = [opened(each.value, self.machine.trusted().key) for each in self.topic.records]
        return [(each.snapshot.number, each.key_id) for each in found]


@pytest.fixture
def learners(machine, topic):
    made = []

    def make(on=None):
        made.append(Learner(on or machine, topic))
        return made[-1]

    yield make
    for each in made:
        each.publishing.close()


def test_a_snapshot_stands_under_its_models_name_signed_and_says_what_it_is(learners, machine, topic):
    learner = learners()
    record = learner.publishing.signed(snapshot(3))
    assert record.key == MODEL.encode()
    assert dict(record.headers) == {"v": b"1", "model_version": b"null-3"}
    learner.publish(snapshot(3))
    assert learner.shown() == [(3, machine.key.signer().public.id)]


def test_what_the_last_learner_committed_and_did_not_publish_is_published_by_the_next(learners, topic):
    learners().publish(snapshot(3))
    learner = learners()
    assert learner.publishing.resume(snapshot(4)) == 4
    assert [number for number, _ in learner.shown()] == [3, 4]


def test_what_is_there_is_not_sent_again(learners, topic):
    learners().publish(snapshot(3))
    learner = learners()
    assert learner.publishing.resume(snapshot(3)) == 3
    learner.tend_later()
    assert len(topic.records) == 1


def test_the_first_learner_has_nothing_to_publish(learners, topic):
    assert learners().publishing.resume(None) == 0
    assert topic.records == []


def test_a_database_that_was_put_back_does_not_number_below_what_scorers_have_seen(learners, topic):
    learners().publish(snapshot(20))
    learner = learners()
    assert learner.publishing.resume(snapshot(4)) == 20
    learner.tend_later()
    assert len(topic.records) == 1, "the older one would be refused"


@pytest.mark.parametrize("bad", [b"", b"weir-model\n", Signer.fresh().sign(MODEL, snapshot(99))])
def test_a_record_that_nobody_can_use_is_covered_since_compaction_would_leave_it_alone(learners, topic, bad):
    learner = learners()
    learner.publish(snapshot(3))
    topic.put(bad)
    learner.tend_later()
    del topic.records[1]
    assert [number for number, _ in learner.shown()] == [3, 3]


def test_an_older_one_that_a_zombie_sends_late_is_covered(learners, machine, topic):
    learner = learners()
    learner.publish(snapshot(3))
    topic.put(machine.sign(snapshot(2)))
    learner.tend_later()
    assert [number for number, _ in learner.shown()] == [3, 2, 3]


def test_what_was_just_sent_is_given_time_to_be_seen(learners, topic):
    learner = learners()
    learner.publish(snapshot(3))
    topic.put(b"")
    learner.now += PATIENCE_SECONDS / 2
    topic.read_by(learner.tail)
    learner.publishing.tend()
    assert len(topic.records) == 2


def test_a_new_key_signs_the_newest_at_once_and_all_that_follow(learners, machine, topic):
    learner = learners()
    learner.publish(snapshot(3))
    old, new = machine.key.signer().public.id, machine.key.rotate(machine.trusted()).id
    learner.tend_later()
    assert learner.shown() == [(3, old), (3, new)]
    learner.publish(snapshot(4))
    assert learner.shown()[-1] == (4, new)


def test_after_a_theft_the_thiefs_number_counts_no_more(learners, machine, topic):
    thief = Signer.fresh()
    machine.trusted().add(thief.public)
    learner = learners()
    learner.publish(snapshot(3))
    topic.put(thief.sign(MODEL, snapshot(999)))
    learner.tend_later()
    assert len(topic.records) == 2
    machine.trusted().revoke(thief.public.id)
    learner.tend_later()
    del topic.records[1]
    assert [number for number, _ in learner.shown()] == [3, 3]


def test_who_signed_what_is_told(learners, machine, topic):
    learner = learners()
    learner.publish(snapshot(3))
    old, new = machine.key.signer().public.id, machine.key.rotate(machine.trusted()).id
    learner.publish(snapshot(4))
    topic.put(b"nonsense")
    assert signers_on(topic.tail, machine.trusted(), MODEL) == {3: old, 4: new}
