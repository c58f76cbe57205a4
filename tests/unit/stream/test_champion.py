"""Which model decides: the newest that fits; one that does not is refused, and the champion stays."""

import logging

import pytest

from models.baselines import NullScorer
from models.snapshot import Snapshot, SnapshotError
from stream.champion import POLL_SECONDS, Pinned, Published, champion_from_file, champion_of
from stream.pipeline import NOBODY

NAMES = ("a", "b")


def snapshot(number, features_version="f"):
    return Snapshot.of(
        NullScorer(NAMES),
        number=number,
        features_version=features_version,
        threshold=0.25,
        learned=10 * number,
        positions={},
        made_at="now",
    )


class Registry:
    """Holds the newest snapshot, and counts how often it is asked."""

    def __init__(self):
        self.newest = None
        self.asked = 0

    def __call__(self, after):
        self.asked += 1
        if isinstance(self.newest, Exception):
            raise self.newest
        return self.newest if self.newest and self.newest.number > after else None


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def feed(registry):
    feed = Published(registry, "f", NAMES, clock=lambda: feed_time[0])
    feed_time[0] = 0.0
    return feed


feed_time = [0.0]


def later():
    feed_time[0] += POLL_SECONDS


def test_before_the_first_snapshot_nobody_decides(feed):
    assert feed.newest() is NOBODY


def test_the_newest_snapshot_decides_with_its_own_threshold(feed, registry):
    registry.newest = snapshot(3)
    champion = feed.newest()
    assert (champion.version, champion.threshold, champion.rung) == ("null-3", 0.25, "river")
    registry.newest = snapshot(5)
    later()
    assert feed.newest().version == "null-5"


def test_the_registry_is_asked_only_now_and_then(feed, registry):
    for _ in range(50):
        feed.newest()
    assert registry.asked == 1


def test_a_snapshot_of_other_features_is_refused_and_the_champion_stays(feed, registry, caplog):
    registry.newest = snapshot(1)
    feed.newest()
    registry.newest = snapshot(2, features_version="other")
    later()
    with caplog.at_level(logging.ERROR):
        assert feed.newest().version == "null-1"
    assert "learned on the features other, the profile declares f" in caplog.text


def test_a_snapshot_that_cannot_be_read_is_refused_and_the_champion_stays(feed, registry, caplog):
    registry.newest = snapshot(1)
    feed.newest()
    registry.newest = SnapshotError("its content does not match its digest")
    later()
    assert feed.newest().version == "null-1"
    assert "does not match its digest" in caplog.text
    registry.newest = snapshot(4)
    later()
    assert feed.newest().version == "null-4"


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
