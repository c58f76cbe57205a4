"""Models travel on Kafka: large ones too, to scorers in several processes, from one learner of two, through a change of keys."""

import shutil
import signal
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from features.profile import load as load_profile
from models.baselines import NullScorer
from models.snapshot import Snapshot
from stream import sealing
from stream.broker import ensure_topics, publisher_for, tail_for
from stream.champion import MODEL, Contest
from stream.contest import Published
from stream.kafka import BrokerError
from stream.kafka_admin import KafkaAdmin
from stream.lease import LOST
from stream.model_keys import KEY_FILE, TRUSTED_FILE, SigningKey, TrustedKeys
from stream.publishing import Publishing
from stream.records import ARRIVED, Outgoing
from stream.review.ledger import Ledger
from stream.sealing import Sealer
from stream.signing import LARGEST, TooLarge, opened
from stream.topics import MODEL_BYTES, wanted
from tests.acceptance import harness
from tests.acceptance.harness import start, stop
from tests.contract.valkey import Valkey
from tests.unit.stream.models_fakes import HASHES, Machine, snapshot

PROFILE = load_profile("payments")
eventually = partial(
    harness.eventually, seconds=240.0
)  # six processes start, and a busy machine has two cores


class Home:
    """A tenant on the broker, with the profile's topics; machines are directories."""

    def __init__(self, kafka, directory):
        self.prefix = f"models-{uuid4().hex[:8]}-"
        self.url = f"kafka://{kafka}"
        self.directory = directory
        self.topic = self.prefix + "models"
        with KafkaAdmin(self.url) as admin:
            admin.create(wanted(PROFILE.topics, self.prefix))

    def environment(self, **more):
        return {
            "WEIR_BROKER": self.url,
            "WEIR_TOPIC_PREFIX": self.prefix,
            "WEIR_DATABASE": f"sqlite:///{self.directory}/weir.db",
            "WEIR_SEAL_KEY_FILE": str(self.directory / "shared" / sealing.KEY_FILE),
            "WEIR_LOG": "INFO",
            **more,
        }

    def worker(self, role, machine, **more):
        return start("worker", "--role", role, directory=self.directory / machine, **self.environment(**more))

    @contextmanager
    def ledger(self):
        opened = Ledger.open(self.environment()["WEIR_DATABASE"])
        yield opened
        opened.close()

    def recorded(self, what):
        """A counter of the recorder's."""
        with self.ledger() as ledger:
            return ledger.counters().get(what, 0)

    def learned(self):
        """Labels that the newest snapshot knows."""
        with self.ledger() as ledger:
            snapshot = ledger.newest_snapshot(0)
            return snapshot.learned if snapshot else 0

    def records(self):
        """All that stands on the topic `models`."""
        tail = tail_for(self.url, self.topic)
        found = []
        while not tail.at_end():
            found += tail.read()
        tail.close()
        return found

    def numbers(self, machine):
        trusted = TrustedKeys(self.directory / machine / TRUSTED_FILE)
        return [opened(each.value, trusted.key).snapshot.number for each in self.records()]


@pytest.fixture
def home(kafka, tmp_path):
    return Home(kafka, tmp_path)


def large(bytes_):
    """A snapshot of about so many bytes, and its key's machine."""
    names = ("a" * bytes_,)
    return Snapshot.of(
        NullScorer(names),
        number=1,
        features_version="f",
        threshold=0.5,
        learned=1,
        positions={},
        made_at="now",
    )


def test_a_snapshot_as_large_as_may_be_travels_and_a_larger_one_is_a_clear_error(home, tmp_path):
    machine = Machine(tmp_path / "keys").learner()
    # the name of the feature stands in the snapshot and in its scorer
    made = large((LARGEST - 1_000) // 2)
    value = machine.sign(made)
    assert LARGEST - 1_000 < len(value) <= LARGEST
    publisher = publisher_for(home.url, largest=MODEL_BYTES)
    publisher.publish(home.topic, [Outgoing(b"null", value)])
    assert [len(each.value) for each in home.records()] == [len(value)]
    with pytest.raises(TooLarge, match="bytes, and the topic takes"):
        machine.sign(large(LARGEST // 2))
    small = home.prefix + "small"
    ensure_topics(home.url, {small: 1})  # with the broker's own limit of a megabyte
    with pytest.raises(BrokerError, match=r"too large for the topic .*small.*weir topics create --apply"):
        publisher.publish(small, [Outgoing(b"null", value)])
    publisher.close()


def test_a_tail_reads_to_the_end_follows_and_begins_anew(home):
    publisher = publisher_for(home.url)
    tail = tail_for(home.url, home.topic)
    assert tail.at_end()
    publisher.publish(home.topic, [Outgoing(b"k", b"1")])
    assert eventually(tail.read, "it follows")[0].value == b"1"
    tail.rewind()
    assert not tail.at_end()
    assert eventually(tail.read, "it is read again")[0].value == b"1"
    assert tail.at_end()
    tail.close()
    publisher.close()
    with pytest.raises(BrokerError, match="weir topics create"):
        tail_for(home.url, home.topic + "-absent")


def test_a_change_of_keys_leaves_no_scorer_without_a_champion(home, tmp_path):
    """Two machines: the learner's, and the scorers', which hold public keys only."""
    learner, scorers = Machine(tmp_path / "learner").learner(), Machine(tmp_path / "scorers")
    old = learner.key.signer().public
    scorers.trusted().add(old)
    publisher = publisher_for(home.url, largest=MODEL_BYTES)

    def open_tail():
        return tail_for(home.url, home.topic)

    def scorer():
        return Published(open_tail, Contest(scorers.trusted(), "f", HASHES, "null"))

    now = [0.0]
    publishing = Publishing(
        publisher, home.topic, learner.key, learner.trusted(), open_tail, model="null", clock=lambda: now[0]
    )

    def publish(number):
        publishing.publish(snapshot(number), publishing.signed(snapshot(number)))

    def signers():
        return {opened(each.value, learner.trusted().key).key_id for each in home.records()[-1:]}

    publish(1)
    running = scorer()
    assert running.newest().version == "null-1"

    new = learner.key.prepare(learner.trusted())
    publish(2)
    eventually(lambda: running.newest().version == "null-2", "still signed by the old key")
    scorers.trusted().add(new)
    learner.key.rotate(learner.trusted())

    def tended():
        now[0] += 100.0
        time.sleep(0.3)
        publishing.tend()
        return signers() == {new.id}

    eventually(tended, "the newest is sent again under the new key", pause=1)
    scorers.trusted().revoke(old.id)
    fresh = scorer()
    assert fresh.newest().version == "null-2", "a scorer that starts now has the newest, under the new key"
    assert running.newest().version == "null-2"
    publish(3)
    for feed in (running, fresh):
        eventually(lambda feed=feed: feed.newest().version == "null-3", "all follow the new key")
        feed.close()
    publishing.close()


# --- the real processes


def payments(first, count, at):
    """Payments of many cards, a second apart from `at` on, and their labels, which arrive with the next ones."""
    events, labels = [], []
    for number in range(first, first + count):
        arrived = ((ARRIVED, b"%d" % ((at + number) * 1_000_000)),)
        key = b"c%d" % (number % 50)
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at + number))
        event = {
            "id": f"p{number}",
            "at": when,
            "card": key.decode(),
            "merchant": f"m{number % 7}",
            "device": "d",
        }
        event |= {"amount": number % 90 + (500 if number % 10 == 0 else 0), "currency": "EUR"}
        events.append(Outgoing(key, msgspec.json.encode(event), arrived))
        label = {"label_id": f"l{number}", "event_id": f"p{number}", "source": "test", "labelled_at": when}
        label["label"] = "fraud" if number % 10 == 0 else "legitimate"
        labels.append(Outgoing(key, msgspec.json.encode(label), arrived))
    return events, labels


def send(home, first, count, at=1_767_312_000):
    events, labels = payments(first, count, at)
    publisher = publisher_for(home.url)
    publisher.publish(home.prefix + "transactions", events)
    publisher.publish(home.prefix + "labels", labels)
    publisher.close()


def last_version(home, machine):
    """The model that a scorer's log says decides."""
    said = (home.directory / machine / "worker---role-score.out").read_text()
    return said.rpartition(" decides from now on")[0].rpartition(" ")[2]


@pytest.fixture
def redis():
    """A Redis that the scorers share."""
    directory = Path(tempfile.mkdtemp())  # short: a socket's path is
    server = Valkey(directory)
    server.start()
    yield server.url
    server.kill()
    shutil.rmtree(directory)


@pytest.mark.slow
def test_of_two_learners_one_is_killed_one_sleeps_and_scorers_on_two_machines_follow_the_other(home, redis):
    Sealer.at(home.directory / "shared")
    first = home.worker("learn", "learner-1")
    keys = home.directory / "learner-1" / "keys"
    eventually((keys / "models.trusted").exists, "the first learner made its key")
    second_key = SigningKey(home.directory / "learner-2" / KEY_FILE)
    trusted = TrustedKeys(keys / "models.trusted")
    second_key.make(TrustedKeys(home.directory / "learner-2" / TRUSTED_FILE))
    trusted.add(second_key.signer().public)
    sharing = {"WEIR_MODEL_TRUSTED_KEYS": str(keys / "models.trusted"), "WEIR_REDIS": redis}
    second = home.worker("learn", "learner-2", **sharing)
    workers = [first, second, home.worker("record", "recorder")]
    workers += [home.worker("score", machine, **sharing) for machine in ("scorer-1", "scorer-2")]
    try:
        standing = home.directory / "learner-2" / "worker---role-learn.out"
        eventually(lambda: "standing by: the learner" in standing.read_text(), "the second stands by")
        send(home, 0, 2_000)
        eventually(lambda: home.numbers("learner-1"), "the first learner published", pause=1)
        eventually(
            lambda: all(last_version(home, each) for each in ("scorer-1", "scorer-2")), "both scorers swapped"
        )
        eventually(lambda: home.recorded("labelled") == 2_000, "recorded")
        stop(first, signal.SIGKILL)
        before = max(home.numbers("learner-1"))
        send(home, 2_000, 2_000)
        eventually(lambda: max(home.numbers("learner-1")) > before, "the second learner published", pause=0.5)
        newest = f"{MODEL}-"
        eventually(
            lambda: (
                {last_version(home, each) for each in ("scorer-1", "scorer-2")}
                == {newest + str(max(home.numbers("learner-1")))}
            ),
            "both scorers swapped to it",
            pause=1,
        )
        eventually(lambda: home.recorded("labelled") == 4_000, "recorded")
        eventually(lambda: home.learned() == 4_000, "every label taught, and none twice")

        third = home.worker("learn", "learner-1")
        workers.append(third)
        said = home.directory / "learner-1" / "worker---role-learn.out"
        eventually(lambda: "standing by: the learner" in said.read_text(), "the third stands by")
        second.send_signal(signal.SIGSTOP)
        send(home, 4_000, 500)
        eventually(lambda: home.learned() == 4_500, "the third took over from one that sleeps")
        second.send_signal(signal.SIGCONT)
        assert second.wait(60) == LOST, "one that was thought dead ends when it wakes up"
        send(home, 4_500, 500)
        eventually(lambda: home.learned() == 5_000, "and has changed nothing")
    finally:
        for each in workers:
            if each.is_running():
                stop(each, signal.SIGKILL)
