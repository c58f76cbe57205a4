"""Snapshots, keys and a topic `models` in memory."""

from __future__ import annotations

import time

from models.baselines import NullScorer
from models.snapshot import Snapshot
from stream.model_keys import SigningKey, TrustedKeys
from stream.records import Record

NAMES = ("a", "b")
HASHES = {"a": "a1", "b": "b1"}
MODEL = "null"
KEY = MODEL.encode()


def snapshot(number, features_version="f", learned=None, names=NAMES, hashes=None):
    return Snapshot.of(
        NullScorer(names),
        number=number,
        features_version=features_version,
        threshold=0.25,
        learned=10 * number if learned is None else learned,
        positions={"labels/0": number},
        made_at="2026-01-01T00:00:00+00:00",
        hashes=hashes,
    )


class Topic:
    """The topic: a publisher, and tails that are read to their end at once."""

    def __init__(self):
        self.records = []
        self.tails = []
        self.failing = None

    def publish(self, topic, records):
        if self.failing:
            raise self.failing
        for each in records:
            self.put(each.value, each.key)

    def put(self, value, key=KEY):
        self.records.append(Record("models", 0, len(self.records), key, value, (), 0))

    def compact(self):
        """Only the last record stays."""
        del self.records[:-1]

    def tail(self):
        self.tails.append(MemoryTail(self))
        return self.tails[-1]

    def read_by(self, tail):
        """Wait until whoever follows with this tail has taken in what stands here now, and what changed of keys."""
        deadline, enough = time.monotonic() + 20, tail.reads + 3
        while tail.reads < enough:
            assert time.monotonic() < deadline, "somebody follows"
            time.sleep(0.001)

    def close(self):
        pass


class MemoryTail:
    """Stands behind the last record that was read."""

    def __init__(self, topic):
        self.topic, self.after, self.reads = topic, 0, 0

    def read(self):
        if self.topic.failing:
            raise self.topic.failing
        self.reads += 1
        time.sleep(0.001)
        found = [each for each in self.topic.records if each.offset >= self.after]
        self.after = found[-1].offset + 1 if found else self.after
        return found

    def at_end(self):
        return not any(each.offset >= self.after for each in self.topic.records)

    def rewind(self):
        self.after = 0

    def close(self):
        pass


class Machine:
    """The key files of one machine."""

    def __init__(self, directory):
        self.key = SigningKey(directory / "models.key")
        self.file = directory / "models.trusted"

    def trusted(self):
        return TrustedKeys(self.file)

    def learner(self):
        """With a key of its own, trusted here."""
        self.key.make(self.trusted())
        return self

    def sign(self, made, model=MODEL):
        return self.key.signer().sign(model, made)
