"""Workers of an old and of a new profile side by side, while one takes over from the other: each on features of its own."""

import signal

import msgspec
import pytest

from features.profile import SHIPPED, load
from stream.broker import progress_for, reader_for
from stream.records import TP
from tests.acceptance.harness import eventually, start, stop
from tests.integration.test_watched import Stage, payment, redis  # noqa: F401 - fixtures

CARDS, EACH = 20, 300
NEW, COUNT = "merchant_mean_amount_7d", "card_count_1d"


class Rolling(Stage):
    """A tenant whose workers may have a newer profile."""

    def newer(self):
        path = self.directory / "newer.toml"
        text = (SHIPPED / "payments.toml").read_text()
        path.write_text(text.replace("declare = [", 'declare = [\n    "mean amount by merchant over 7d",', 1))
        return path

    def work(self, name, *flags):
        command = ("worker", "--role", "score", *flags)
        worker = start(*command, directory=self.directory / name, **self.environment)
        self._workers.append(worker)
        eventually(lambda: self.ready(name), f"{name} is ready")
        return worker

    def decisions(self):
        """The first decision of each id."""
        reader = reader_for(self.url, {TP(f"{self.prefix}decisions", part): 0 for part in range(2)})
        first = {}
        while some := reader.fetch(1_000):
            for each in some:
                row = msgspec.json.decode(each.value)
                first.setdefault(int(row["event_id"]), row)
        reader.close()
        return first

    def decide(self, begin, end):
        """Send payments, and wait for the decisions of all."""
        self.send(list(map(payment, range(begin, end))))
        eventually(lambda: len(self.decisions()) == end, "all is decided", 120)


@pytest.fixture
def rolling(kafka, redis, tmp_path):  # noqa: F811
    made = Rolling(kafka, redis, tmp_path)
    yield made
    made.end()


def test_an_old_and_a_new_worker_share_the_partitions_and_the_new_one_takes_over(rolling):
    newer = rolling.newer()
    old_version, new_version = load("payments").features_version, load(newer).features_version
    old = rolling.work("old")
    rolling.decide(0, EACH)
    rolling.work("new", "--profile", newer)
    sent = EACH
    while new_version not in {row["features_version"] for row in rolling.decisions().values()}:
        rolling.decide(sent, sent + EACH)
        sent += EACH
        assert sent < 40 * EACH, "the new features never became live"
    both = {row["features_version"] for number, row in rolling.decisions().items() if number >= sent - EACH}
    assert both == {old_version, new_version}, "each decides on features of its own"
    stop(old, signal.SIGKILL)
    rolling.decide(sent, sent + EACH)
    made = rolling.decisions()
    last = [made[number] for number in range(sent, sent + EACH)]
    assert {row["features_version"] for row in last} == {new_version}
    assert not any("warming" in row for row in last)
    for number in range(sent + EACH):
        assert made[number]["features"].get(NEW) is not None or (
            made[number]["features_version"] == old_version
        )
    newest = {row["features"][COUNT] for row in last[-CARDS:]}
    assert max(newest) == (sent + EACH) / CARDS, (
        "what the old worker decided alone counts in the new features"
    )
    letters = progress_for(rolling.url).end_offsets(f"{rolling.prefix}transactions.dlq")
    assert set(letters.values()) == {0}
