"""`weir topics`, and a worker that finds other topics than its state was made with."""

import subprocess
import sys
from uuid import uuid4

import msgspec
import pytest

from stream import cli
from stream.broker import publisher_for
from stream.kafka_admin import KafkaAdmin
from stream.records import Outgoing
from tests.contract.stopping import eventually

PROFILE = """
name = "mine"
[source]
event_id = "id"
time = "at"
amount = "amount"
currency = "EUR"
[entities]
card = "card"
[features]
declare = ["amount", "count by card over 1h"]
[topics]
partitions = {partitions}
retention = "{retention}"
"""


class Weir:
    """The command line on a broker, for a tenant of its own."""

    def __init__(self, bootstrap, directory, capsys):
        self.url = f"kafka://{bootstrap}"
        self.prefix = f"test-{uuid4().hex[:8]}-"
        self._directory = directory
        self._capsys = capsys
        self.profile(partitions=4, retention="30d")

    def profile(self, **topics):
        (self._directory / "mine.toml").write_text(PROFILE.format(**topics))

    @property
    def flags(self):
        return [
            *("--dir", str(self._directory / "weir"), "--broker", self.url, "--topic-prefix", self.prefix),
            *("--profile", str(self._directory / "mine.toml")),
        ]

    def __call__(self, *arguments):
        """Exit status, what it said, and what it complained of."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, *self.flags])
        said = self._capsys.readouterr()
        return ended.value.code, said.out, said.err

    def worker(self, role):
        command = [sys.executable, "-m", "stream", "worker", "--role", role, *self.flags]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def found(self):
        names = ("transactions", "labels", "decisions", "alerts", "transactions.dlq", "labels.dlq", "models")
        with KafkaAdmin(self.url) as admin:
            topics = admin.topics(self.prefix + name for name in names)
        return {name.removeprefix(self.prefix): topic for name, topic in topics.items()}

    def partitions(self):
        return {name: topic.partitions for name, topic in self.found().items()}


@pytest.fixture
def weir(kafka, tmp_path, capsys):
    return Weir(kafka, tmp_path, capsys)


def test_topics_are_made_as_the_profile_says_and_made_again_nothing_happens(weir):
    status, said, _ = weir("topics", "create", "--json")
    assert (status, len(msgspec.json.decode(said)["made"])) == (0, 7)
    topics = weir.found()
    assert topics["transactions"].settings["retention.ms"] == str(30 * 86_400_000)
    assert topics["models"].settings["cleanup.policy"] == "compact"
    assert weir.partitions() == {
        **dict.fromkeys(("transactions", "labels", "decisions", "alerts"), 4),
        **dict.fromkeys(("transactions.dlq", "labels.dlq", "models"), 1),
    }
    status, said, _ = weir("topics", "create", "--json")
    assert status == 0
    assert {key: msgspec.json.decode(said)[key] for key in ("made", "changed", "differs")} == {
        "made": [],
        "changed": [],
        "differs": [],
    }


def test_another_retention_is_shown_and_changed_only_when_asked(weir):
    weir("topics", "create")
    weir.profile(partitions=4, retention="2d")
    status, said, _ = weir("topics", "create")
    assert status == 0
    assert "retention.ms is 2592000000, the profile wants 172800000" in said
    assert "--apply" in said
    assert weir.found()["labels"].settings["retention.ms"] == "2592000000"
    status, said, _ = weir("topics", "create", "--apply")
    assert (status, weir.found()["labels"].settings["retention.ms"]) == (0, "172800000")


@pytest.mark.parametrize("partitions", [2, 8])
def test_a_number_of_partitions_is_never_changed_by_create(weir, partitions):
    weir("topics", "create")
    weir.profile(partitions=partitions, retention="30d")
    status, _, complaint = weir("topics", "create", "--apply")
    assert status == 1
    assert f"transactions: partitions is 4, the profile wants {partitions}" in complaint
    assert weir.partitions()["transactions"] == 4


@pytest.mark.slow
def test_a_worker_refuses_partitions_that_its_state_was_not_made_with_until_they_are_accepted(weir):
    weir("topics", "create")
    worker = weir.worker("record")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(8)
    worker.terminate()
    worker.communicate()
    with KafkaAdmin(weir.url) as admin:
        admin.grow({weir.prefix + "decisions": 6})
    refused = weir.worker("record")
    _, complaint = refused.communicate(timeout=30)
    assert refused.returncode == 1
    assert f"{weir.prefix}decisions has 6, the state was made with 4" in complaint
    assert "Traceback" not in complaint
    assert weir("topics", "grow", "6")[0] == 0
    assert weir.partitions()["transactions"] == 6
    accepted = weir.worker("record")
    with pytest.raises(subprocess.TimeoutExpired):
        accepted.wait(8)
    accepted.terminate()
    accepted.communicate()
    assert accepted.returncode == 0


def test_growing_waits_for_what_waits_and_never_shrinks(weir):
    weir("topics", "create")
    publisher = publisher_for(weir.url)
    publisher.publish(weir.prefix + "transactions", [Outgoing(b"k", b"{}")])
    publisher.close()
    status, _, complaint = weir("topics", "grow", "5")
    assert status == 1
    assert f"records wait: 1 for {weir.prefix}weir-score" in complaint
    assert weir.partitions()["transactions"] == 4
    assert weir("topics", "grow", "5", "--anyway")[0] == 0
    assert weir.partitions()["transactions"] == 5
    status, _, complaint = weir("topics", "grow", "3", "--anyway")
    assert (status, "say `weir topics grow 5`" in complaint) == (1, True)


def test_a_worker_without_its_topics_says_how_they_are_made(weir):
    status, _, complaint = weir("worker", "--role", "score")
    assert status == 1
    assert "weir topics create" in complaint


def test_the_doctor_tells_who_is_how_far_behind_and_what_is_wrong(weir):
    weir("topics", "create")
    publisher = publisher_for(weir.url)
    publisher.publish(weir.prefix + "decisions", [Outgoing(b"k", b"{}")] * 3)
    publisher.close()
    weir.profile(partitions=4, retention="1d")
    weir("topics", "create", "--apply")
    status, said, _ = weir("doctor", "--json")
    told = msgspec.json.decode(said)
    wrong = {
        (each["check"].removeprefix(weir.prefix), each["mend"][:17])
        for each in told["findings"]
        if each["state"] == "wrong"
    }
    assert (status, told["well"]) == (1, False)
    assert wrong == {
        ("retention", "a longer [topics]"),
        ("weir-record", "start a worker of"),
        ("weir-learn", "start a worker of"),
    }
    readers = {each["group"].removeprefix(weir.prefix): each for each in told["readers"]}
    late = [each for each in readers["weir-record"]["waiting"] if each["records"]]
    assert [(each["topic"], each["records"]) for each in late] == [(weir.prefix + "decisions", 3)]


def record_members(weir):
    told = msgspec.json.decode(weir("doctor", "--json")[1])
    (record,) = [each for each in told["readers"] if each["group"] == f"{weir.prefix}weir-record"]
    return record["state"], len(record["members"])


@pytest.mark.slow
def test_the_doctor_sees_the_members_of_a_group(weir):
    weir("topics", "create")
    worker = weir.worker("record")
    try:
        eventually(lambda: record_members(weir) == ("Stable", 1), "the doctor sees the member", pause=0.3)
    finally:
        worker.terminate()
        worker.communicate()
