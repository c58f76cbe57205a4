"""A Weir of three workers that is fed in parts, and all that can be known of it, from whichever log, SQL and Redis."""

from __future__ import annotations

from contextlib import closing

import msgspec
from sqlalchemy import select

from features import redis_copy
from features.profile import load as load_profile
from stream import bootstrap
from stream.broker import progress_for, publisher_for
from stream.config import load
from stream.decisions import LABELS, TRANSACTIONS
from stream.extents import at_place
from stream.files import EventFile
from stream.readiness import READS
from stream.review import tables as t
from stream.review.ledger import Ledger
from stream.review.outbox import Outbox
from stream.review.queue import ReviewQueue
from tests.acceptance.harness import env, eventually, log_of, start, stop, weir, without_clock

EVENTS = 3_000

PATIENCE = 500.0
"""Seconds for what takes some on a machine that does nothing else."""

HOW = {"repeated", "conflicts"}
"""Counters of how often a record came, which is more often after a restore."""


class Drill:
    """One Weir, its workers and its servers named by `environment`."""

    def __init__(self, home, profile, model, **environment):
        self.home = home
        self.environment = {"WEIR_PROFILE": str(profile), "WEIR_MODEL": str(model)}
        self.workers = []
        home.mkdir(parents=True, exist_ok=True)
        self.lose(**environment)

    def lose(self, **environment):
        """From now on these servers are used."""
        self.environment |= environment
        told = {k: v for k, v in env(self.home, **self.environment).items() if k.startswith("WEIR_")}
        self.config = load({}, told, self.home / "no.toml")

    def start(self, *roles):
        """Start a worker for each of these roles, or of all."""
        self.workers = [
            start("worker", "--role", role, directory=self.home, **self.environment)
            for role in roles or READS
        ]
        return self.workers

    def log(self):
        """The embedded log."""
        return log_of(self.home)

    def stop(self):
        for worker in self.workers:
            stop(worker, seconds=60)
        self.workers = []

    def kill(self):
        for worker in self.workers:
            if worker.is_running():
                worker.kill()
                worker.wait(10)

    def run(self, *arguments):
        return weir(*arguments, directory=self.home, **self.environment)

    def feed(self, parcels):
        """Publish these, and wait until every role is done with all there is."""
        with closing(publisher_for(self.config.broker)) as publisher:
            for topic, records in parcels:
                publisher.publish(self.config.topic(topic), records)
        eventually(self.done, f"all is done in {self.home}", PATIENCE, pause=0.3)

    def done(self):
        """Whether all is dealt with, and the state of each role holds it; labels that came early the learner keeps."""
        progress = progress_for(self.config.broker)
        read = [(role, self.config.topic(name)) for role in READS for name in READS[role]]
        read.remove(("learn", self.config.topic(LABELS)))
        ends = {name: progress.end_offsets(name) for _, name in read}
        groups = {role: bootstrap.group_of(self.config, role) for role in READS}
        if any(progress.committed(groups[role], name) != ends[name] for role, name in read):
            return False
        held = self.held()
        return all(
            held[role].get((name, part), 0) == end for role, name in read for part, end in ends[name].items()
        )

    def held(self):
        """By role and partition: how far its own state holds the log."""
        url, close = bootstrap.redis_for(self.config)
        try:
            heads = redis_copy.marks(url, redis_copy.prefix_of(bootstrap.store_name(self.config)))
        finally:
            close()
        found = redis_copy.positions_in((key, "hash", held) for key, held in heads.items())
        scored = {place: at for positions in found.values() for place, at in positions.items()}
        with closing(Ledger.open(self.config.database)) as ledger:
            held = {role: dict(ledger.positions(role)) for role in ("record", "learn")}
        return held | {"score": {at_place(name): at for name, at in scored.items()}}

    def learned(self, label_id):
        with closing(Ledger.open(self.config.database)) as ledger:
            return label_id in {row.label_id for row in rows_of(ledger, t.learned_labels)}

    def give(self, verdict):
        """Say what the first alert was, as an analyst does; gives the alert's id and what the label says."""
        with closing(Ledger.open(self.config.database)) as ledger:
            queue = ReviewQueue(ledger, bootstrap.sealer(self.config).open)
            alert = min(alert_id for (alert_id, *_) in rows_of(ledger, t.alerts))
            queue.give(alert, verdict)
            ((_, record),) = queue.unsent()
            with closing(publisher_for(self.config.broker)) as publisher:
                assert Outbox(queue, publisher, self.config.topic(LABELS)).flush() == 1
        label = msgspec.json.decode(record.value)
        eventually(
            lambda: self.learned(label["label_id"]), "the verdict is learned from", PATIENCE, pause=0.3
        )
        eventually(self.done, "the verdict is dealt with", PATIENCE, pause=0.3)
        return alert, label

    def known(self):
        """All that matters of what it knows, clock fields excepted."""
        with closing(Ledger.open(self.config.database)) as ledger:
            snapshot = ledger.newest_snapshot(0)
            learn = ledger.positions("learn")
            return {
                "decisions": {row.event_id: _timeless(row.record) for row in rows_of(ledger, t.decisions)},
                "alerts": {
                    row.alert_id: (row.state, row.settled_by, _timeless(row.record))
                    for row in rows_of(ledger, t.alerts)
                },
                "labels": {tuple(row) for row in rows_of(ledger, t.labels)},
                "labelled": {tuple(row) for row in rows_of(ledger, t.labelled)},
                "counters": {tuple(row) for row in rows_of(ledger, t.counters) if row.name not in HOW},
                "dead letters": len(rows_of(ledger, t.dead_letters)),
                "learned": {tuple(row) for row in rows_of(ledger, t.learned_labels)},
                "waiting": {row.label_id for row in rows_of(ledger, t.waiting_labels)},
                "snapshot": snapshot and (snapshot.learned, snapshot.features_version),
                "learner": {tp: at for tp, at in learn.items() if tp.topic == self.config.topic(LABELS)},
            }

    def state(self):
        """What the feature store holds, but the head: how many calls were made is no feature."""
        url, close = bootstrap.redis_for(self.config)
        try:
            prefix = redis_copy.prefix_of(bootstrap.store_name(self.config))
            found = [entry for some in redis_copy.entries(url, prefix) for entry in some]
        finally:
            close()
        return {key: held for key, _, held in found if not key.endswith(b"}")}


def rows_of(ledger, table):
    with ledger.engine.connect() as db:
        return db.execute(select(table)).all()


def _timeless(record):
    return without_clock(msgspec.json.decode(record))


def in_three(payments, profile):
    """The file's records as (topic, records), cut in three where so many events are through."""
    file = EventFile(payments, load_profile(str(profile)), label_delay_us=2 * 86_400_000_000)
    parts, events = [[], [], []], 0
    for parcel in file.records():
        if events == EVENTS:
            break
        some = parcel.events[: EVENTS - events]
        for topic, records in ((LABELS, parcel.labels), (TRANSACTIONS, some)):
            if records:
                parts[3 * events // EVENTS].append((topic, records))
        events += len(some)
    return parts
