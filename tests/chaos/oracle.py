"""What the same input gives without faults: the same code over the store in memory, in this process, undisturbed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.events import Label
from features.profile import load as load_profile
from features.store import InMemoryFeatureStore
from models.incremental import RiverScorer
from models.snapshot import Snapshot
from stream import bootstrap
from stream.champion import ChampionFeed, Pinned, champion_of
from stream.codec import Codec
from stream.decisions import ALERTS, DECISIONS
from stream.keyring import Keyring, KeyStore, opened
from stream.labels import vector_of
from stream.letters import AsItCame, as_it_came
from stream.pipeline import NOBODY, Pipeline
from stream.records import Record
from stream.score import ScoreRole
from stream.sealing import Sealer
from tests.unit.stream.fakes import InMemoryKeys

PROFILE = "payments"
BATCH = 100
ALERTED = 0.05
"""The share of the payments that the pinned threshold alerts."""

CLOCKS = ("decided_at", "sealed")
"""Fields that differ between a run and its repetition."""

Row = dict[str, Any]


class Expected(NamedTuple):
    """By id (dead letters: by the place of their record): what must be there, once."""

    decisions: dict[str, Row]
    alerts: dict[str, Row]
    dead_letters: dict[tuple[str, int, int], tuple[str, AsItCame]]  # reason, and key and bytes
    labels: dict[str, Label]  # the readable ones, by label_id
    clock_us: int  # the newest arrival among the decisions


class Oracle:
    """The keys and the pinned model of all runs of a seed, and what they make of an input."""

    def __init__(self, records: Sequence[Record], place: Path) -> None:
        """Learn a model from these records, and keep it and the keys in a directory."""
        self.home, self.model = place / "home", place / "model.weir"
        self.master = Sealer.at(self.home)
        self.profile = load_profile(PROFILE).keyed(self.master.content_key())
        snapshot = self._learned(records)
        self.model.write_bytes(snapshot.encode())
        features = self.profile.features
        self._pinned = Pinned(champion_of(snapshot, features.version, features.hashes))

    def expected(self, records: Sequence[Record]) -> Expected:
        """What these records, applied in this order, end as."""
        return self._run(records, self._pinned)

    def learned(
        self, order: Iterable[str], labels: Mapping[str, Label], decisions: Mapping[str, Row]
    ) -> bytes:
        """River's state after these labels, in this order, with the features that the decisions logged."""
        scorer, names = RiverScorer(self.profile.features.names), self.profile.features.names
        for label_id in order:
            label = labels[label_id]
            scorer.learn_one(vector_of(decisions[label.event_id]["features"], names), label.fraud)
        return scorer.dump()

    @property
    def hash_key(self) -> bytes:
        """What keys the digests in the store."""
        return self.master.hash_key()

    def letters(self, sealed: Sequence[bytes], keys: KeyStore) -> list[AsItCame]:
        """Dead letters as they came, with the keys of the people whom they are about."""
        opener = opened(keys, self.master, sealed)
        return [as_it_came(opener, each, None, self.master.open) for each in sealed]

    def _run(self, records: Sequence[Record], champion: ChampionFeed) -> Expected:
        codec, keys = Codec(self.profile), InMemoryKeys()
        role = ScoreRole(
            codec,
            Pipeline(InMemoryFeatureStore(self.profile.features, hash_key=self.hash_key)),
            bootstrap.emitter(self.profile, self.master),
            champion,
            bootstrap.letter_office(self.profile, self.master),
            Keyring(keys, self.master),
        )
        out: dict[str, list[Any]] = {}
        for start in range(0, len(records), BATCH):
            for topic, made in role.run(records[start : start + BATCH]).items():
                out.setdefault(topic, []).extend(made)
        return self.seen(
            [each.value for each in out.get(DECISIONS, ())],
            [each.value for each in out.get(ALERTS, ())],
            [each for topic, made in out.items() if topic.endswith(".dlq") for each in made],
            _labels(codec, records),
            keys,
        )

    def seen(
        self,
        decisions: Sequence[bytes],
        alerts: Sequence[bytes],
        letters: Sequence[Any],
        labels: dict[str, Label],
        keys: KeyStore,
    ) -> Expected:
        """Records as a reader counts them: the first of each id, without the clock's fields; letters opened with `keys`."""
        decided = first(map(msgspec.json.decode, decisions), "event_id")
        buried: dict[tuple[str, int, int], tuple[str, AsItCame]] = {}
        came = self.letters([letter.value for letter in letters], keys)
        for letter, as_came in zip(letters, came, strict=True):
            head = {name: value.decode() for name, value in letter.headers}
            place = head["topic"], int(head["partition"]), int(head["offset"])
            buried.setdefault(place, (head["reason"], as_came))
        clock = max((row["arrived_us"] for row in decided.values()), default=0)
        return Expected(decided, first(map(msgspec.json.decode, alerts), "alert_id"), buried, labels, clock)

    def _learned(self, records: Sequence[Record]) -> Snapshot:
        told = self._run(records, Pinned(NOBODY))
        names = self.profile.features.names
        scorer = RiverScorer(names)
        for label in told.labels.values():
            if label.event_id in told.decisions:
                features = told.decisions[label.event_id]["features"]
                scorer.learn_one(vector_of(features, names), label.fraud)
        vectors = [vector_of(row["features"], names) for row in told.decisions.values()]
        return Snapshot.of(
            scorer,
            number=1,
            features_version=self.profile.features_version,
            threshold=float(np.quantile(scorer.score_many(vectors), 1 - ALERTED)),
            learned=len(told.labels),
            positions={},
            made_at="2026-01-01T00:00:00+00:00",
        )


def first(rows: Iterable[Row], name: str) -> dict[str, Row]:
    """By id: the first row, without the clock's fields."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row[name], {key: value for key, value in row.items() if key not in CLOCKS})
    return found


def _labels(codec: Codec, records: Sequence[Record]) -> dict[str, Label]:
    """The readable labels: the first of each id."""
    found: dict[str, Label] = {}
    for event in codec.decode_many(records):
        if isinstance(event, Label):
            found.setdefault(event.label_id, event)
    return found
