"""What a run made of its input, held against the oracle by id: nothing lost, nothing counted twice, no extra alert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url

from features.events import Label
from stream.codec import Codec
from stream.decisions import ALERTS, DEAD_LABELS, DEAD_TRANSACTIONS, DECISIONS, TRANSACTIONS
from stream.letters import AsItCame
from stream.review import tables
from stream.review.ledger import Ledger
from stream.review.people import People
from tests.chaos.lives import Told, decoded, in_order, lived, told_by_store
from tests.chaos.oracle import Expected, first
from tests.chaos.stage import Stage

LATE = ("features", "score", "outcome", "reasons", "seq", "approximate")
"""Fields of an event older than `remember` that depend on the moment: it takes no number and is not remembered, so who looks
at it again, after a death or beside other partitions, sees what was applied meanwhile."""

Trouble = list[str]


def judge(stage: Stage) -> Trouble:
    """What is wrong after a run whose workers have ended; nothing, if all is as it must be."""
    whole = stage.log.prefix == ""
    told = told_by_store(stage, stage.serving)
    expected = stage.oracle.expected(in_order(stage, None if whole else told))
    made = seen(stage, expected.labels)
    expected = lived(stage, expected, made)
    if stage.poison:
        expected = set_aside(stage, expected, made)
    troubles = compared(expected, made)
    troubles += fed(stage) + labels_once(expected, told)
    roles = {worker.role for worker in stage.workers}
    if "record" in roles:
        troubles += recorded(stage, made)
    if "learn" in roles:
        troubles += learned(stage, made)
    return troubles


def set_aside(stage: Stage, expected: Expected, made: Expected) -> Expected:
    """The poisoned event ends as a dead letter that says so, and not as a decision."""
    decisions, alerts = dict(expected.decisions), dict(expected.alerts)
    del decisions[stage.poison]
    alerts.pop(f"alert-{stage.poison}", None)
    codec, letters = Codec(stage.oracle.profile), dict(expected.dead_letters)
    for record in stage.log.read(TRANSACTIONS):
        place = record.topic, record.partition, record.offset
        if getattr(codec.decode(record), "event_id", None) == stage.poison:
            reason, _ = made.dead_letters.get(place, ("", b""))
            said = "had this record in hand" in reason
            letters[place] = (
                reason if said else "a reason that says what it did",
                AsItCame(record.key, record.value),
            )
    return expected._replace(decisions=decisions, alerts=alerts, dead_letters=letters)


def seen(stage: Stage, labels: dict[str, Label]) -> Expected:
    """What stands on the topics, as a reader counts it."""
    return stage.oracle.seen(
        [each.value for each in stage.log.read(DECISIONS)],
        [each.value for each in stage.log.read(ALERTS)],
        stage.log.read(DEAD_TRANSACTIONS, DEAD_LABELS),
        labels,
        people(stage),
    )


def people(stage: Stage) -> People:
    """The keys that the run made."""
    return People(Ledger.open(stage.database).engine, stage.oracle.master)


def compared(expected: Expected, made: Expected) -> Trouble:
    """Decisions, alerts and dead letters against what they must be."""
    late = {f"alert-{name}" for name, row in expected.decisions.items() if row["late"]}
    return [
        *differences("decision", expected.decisions, made.decisions, LATE),
        *differences("alert", _without(expected.alerts, late), _without(made.alerts, late)),
        *differences("dead letter", expected.dead_letters, made.dead_letters),
    ]


def differences(
    what: str, expected: Mapping[Any, Any], made: Mapping[Any, Any], loose: Sequence[str] = ()
) -> Trouble:
    """By id: lost, extra, and different ones, each with an example."""
    lost, extra = expected.keys() - made.keys(), made.keys() - expected.keys()
    other = [
        name
        for name in expected.keys() & made.keys()
        if _strict(expected[name], loose) != _strict(made[name], loose)
    ]
    troubles = [
        f"{len(names)} {what}s {how}, such as {min(names)}"
        for how, names in (("lost", lost), ("too many", extra))
        if names
    ]
    if other:
        name = min(other)
        troubles.append(
            f"{len(other)} {what}s differ, such as {name}: {_differing(expected[name], made[name])}"
        )
    return troubles


def _strict(row: Any, loose: Sequence[str]) -> Any:
    if loose and row["late"]:
        return _without(row, loose)
    return row


def _without(rows: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: row for name, row in rows.items() if name not in set(names)}


def _differing(expected: Any, made: Any) -> str:
    if not isinstance(expected, dict):
        return f"{expected!r} became {made!r}"
    return "; ".join(
        f"{name} {_differing(expected[name], made.get(name))}"
        if isinstance(expected[name], dict)
        else f"{name} {expected[name]!r} became {made.get(name)!r}"
        for name in expected
        if expected[name] != made.get(name)
    )


def fed(stage: Stage) -> Trouble:
    """Whether the whole story arrived: a run that was fed less proves nothing."""
    story = Counter(arrival.topic for arrival in stage.arrivals)
    return [
        f"{topic} has {stage.log.count(topic)} of {count} records"
        for topic, count in story.items()
        if stage.log.count(topic) < count
    ]


# --- the input and the store


def readable(stage: Stage) -> dict[str, Label]:
    """The labels that can be read, by id: the first of each."""
    found: dict[str, Label] = {}
    for event in decoded(stage):
        if isinstance(event, Label):
            found.setdefault(event.label_id, event)
    return found


def labels_once(expected: Expected, told: Told) -> Trouble:
    """Every label that takes effect stands once with its event."""
    twice = [name for name, numbers in told.labels.items() if len(numbers) > 1]
    held = {label_id for (_, label_id), numbers in told.labels.items() if numbers}
    lost = expected.labels.keys() - held
    troubles = [f"{len(twice)} labels counted twice, such as {min(twice)}"] if twice else []
    return troubles + ([f"{len(lost)} labels lost, such as {min(lost)}"] if lost else [])


# --- SQL


def recorded(stage: Stage, made: Expected) -> Trouble:
    """What the recorder wrote is what stands on the topics, each id once."""
    engine = create_engine(_driver(stage.database))
    with engine.connect() as db:
        decisions = first(map(msgspec.json.decode, db.scalars(select(tables.decisions.c.record))), "event_id")
        alerts = first(map(msgspec.json.decode, db.scalars(select(tables.alerts.c.record))), "alert_id")
        labels = set(db.scalars(select(tables.labels.c.label_id)))
        d = tables.dead_letters.c
        rows = db.execute(select(d.topic, d.part, d.offset, d.reason, d.value)).all()
        came = stage.oracle.letters([row.value for row in rows], people(stage))
        letters = {
            (row.topic, row.part, row.offset): (row.reason, as_came)
            for row, as_came in zip(rows, came, strict=True)
        }
        counted = dict(db.execute(select(tables.counters.c.name, tables.counters.c.value)).all())
    engine.dispose()
    counts = {"events": len(made.decisions), "alerts": len(made.alerts)}
    return [
        *differences("recorded decision", made.decisions, decisions),
        *differences("recorded alert", made.alerts, alerts),
        *differences("recorded dead letter", made.dead_letters, letters),
        *differences("recorded label", dict.fromkeys(made.labels), dict.fromkeys(labels)),
        *(
            f"{counted.get(name)} {name} are counted, not {n}"
            for name, n in counts.items()
            if counted.get(name) != n
        ),
    ]


def learned(stage: Stage, made: Expected) -> Trouble:
    """The learner learned each label whose event was decided once, and River's state is what they give in that order."""
    engine = create_engine(_driver(stage.database))
    row = "rowid" if engine.dialect.name == "sqlite" else "ctid"
    with engine.connect() as db:
        order = list(db.scalars(text(f"SELECT label_id FROM learned_labels ORDER BY {row}")))
    engine.dispose()
    due = {
        name
        for name, label in made.labels.items()
        if label.event_id in made.decisions and label.arrived_us <= made.clock_us
    }
    troubles = differences("learned label", dict.fromkeys(due), dict.fromkeys(order))
    if len(order) != len(set(order)):
        troubles.append(f"{len(order) - len(set(order))} labels were learned twice")
    ledger = Ledger.open(stage.database)
    snapshot = ledger.newest_snapshot(0)
    ledger.close()
    if snapshot is None:
        return [*troubles, "nothing was learned"]
    if snapshot.learned != len(due):
        troubles.append(f"the model says that it learned {snapshot.learned} labels, not {len(due)}")
    if not troubles and stage.oracle.learned(order, made.labels, made.decisions) != snapshot.scorer:
        troubles.append("River's state is not what these labels give in the order in which they were learned")
    return troubles


def _driver(url: str) -> Any:
    parsed = make_url(url)
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
