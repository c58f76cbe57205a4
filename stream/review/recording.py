"""What the recorder's transaction does: new rows in, known ones left as they are, and the counters kept with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from msgspec.structs import asdict, astuple
from sqlalchemy import Boolean, Column, Connection, bindparam, update

from stream.review import bulk
from stream.review import tables as t
from stream.review.batch import AlertRow, Batch, DecisionRow, LabelRow
from stream.review.database import insert_new, replace

OPEN = "open"
"""The state of an alert that nobody said anything of; the others are the labels, "fraud" and "legitimate"."""

ANALYST = "analyst"
"""The source of labels that are verdicts."""

NEWEST = "SELECT coalesce(max(number), 0) FROM decisions"

DECIDED = ("event_id", "event_time", "body")
DECISIONS = (
    "event_id", "event_time", "number", "arrived_us", "decided_us", "outcome", "score", "model_version", "record"
)  # fmt: skip
FIRST = itemgetter(0)
LABELLED = ("event_id", "fraud", "source", "alerted")


class Said(msgspec.Struct, frozen=True):
    """An event's newest label, and whether the event has an alert."""

    fraud: bool
    source: str
    alerted: bool


def record_batch(db: Connection, batch: Batch) -> Counter[str]:
    """Write all rows but the positions; counts what was new (events, alerts, ...), `repeated`, and `conflicts`."""
    counts: Counter[str] = Counter()
    fresh = _record_decisions(db, batch.decisions, counts)
    new_alerts = _record_alerts(db, [row.alert for row in fresh if row.alert], counts)
    _record_labels(db, batch.labels, counts)
    _meet_earlier_labels(db, new_alerts, counts)
    insert_new(db, t.dead_letters, batch.dead_letters)
    bulk.add_values(db, t.counters, {name: value for name, value in counts.items() if value})
    return counts


def _record_decisions(db: Connection, rows: Sequence[DecisionRow], counts: Counter[str]) -> list[DecisionRow]:
    """Write the first decision of each event; gives those that were."""
    first = {row.event_id: row for row in reversed(rows)}
    bodies = _bodies(db, first)
    fresh = [row for row in rows if row.event_id not in bodies and first[row.event_id] is row]
    if len(fresh) < len(rows):
        said = [bodies.get(row.event_id, first[row.event_id].body) for row in rows]
        counts["conflicts"] += sum(row.body != body for row, body in zip(rows, said, strict=True))
    if fresh:
        _keep_decisions(db, fresh)
    counts["events"] += len(fresh)
    counts["repeated"] += len(rows) - len(fresh)
    return fresh


def _bodies(db: Connection, event_ids: Collection[str]) -> dict[str, str]:
    """The digests of those of these events that are decided."""
    return dict(map(tuple, bulk.found(db, t.decided.c.event_id, ("event_id", "body"), event_ids)))


def _keep_decisions(db: Connection, rows: Sequence[DecisionRow]) -> None:
    """Numbered in their order; written in that of their ids, as all rows are: neighbours share an index's pages."""
    time_of, after = bulk.time_of(db), db.exec_driver_sql(NEWEST).scalar_one()
    written = [
        (
            row.event_id,
            time_of(row.event_us),
            number,
            row.arrived_us,
            row.decided_us,
            row.outcome,
            row.score,
            row.model_version,
            row.record,
        )
        for number, row in enumerate(rows, after + 1)
    ]
    written.sort(key=FIRST)
    bodies = {row.event_id: row.body for row in rows}
    bulk.insert(db, t.decided, DECIDED, [(each[0], each[1], bodies[each[0]]) for each in written])
    bulk.insert(db, t.decisions, DECISIONS, written)


def _record_alerts(db: Connection, rows: Sequence[AlertRow], counts: Counter[str]) -> list[str]:
    """Write alerts of first decisions; gives their events. One that outlived its decision's retention is known."""
    known = _known(db, t.alerts.c.event_id, [row.event_id for row in rows])
    fresh = [row for row in rows if row.event_id not in known]
    bulk.insert(db, t.alerts, AlertRow.__struct_fields__, [astuple(row) for row in fresh])
    counts["alerts"] += len(fresh)
    return [row.event_id for row in fresh]


def _record_labels(db: Connection, rows: Sequence[LabelRow], counts: Counter[str]) -> None:
    first = {row.label_id: row for row in reversed(rows)}
    known = _known(db, t.labels.c.label_id, first)
    fresh = [row for row in rows if row.label_id not in known and first[row.label_id] is row]
    if not fresh:
        return
    bulk.insert(db, t.labels, LabelRow.__struct_fields__, sorted(map(astuple, fresh), key=FIRST))
    newest = {row.event_id: row for row in fresh}
    before = _labelled(db, newest)
    alerted = _known(db, t.alerts.c.event_id, newest)
    now = {event_id: Said(row.fraud, row.source, event_id in alerted) for event_id, row in newest.items()}
    _tally(counts, before.values(), by=-1)
    _tally(counts, now.values(), by=1)
    _keep_labelled(db, now, before)
    _settle_again(db, [row for row in fresh if row.source == ANALYST and row.event_id in alerted])


def _settle_again(db: Connection, verdicts: Sequence[LabelRow]) -> None:
    """Verdicts settle their alerts when they are given; again here, for a database that was restored since then."""
    if not verdicts:
        return
    a = t.alerts.c
    said = [
        {
            "of": row.event_id,
            "now": "fraud" if row.fraud else "legitimate",
            "back": row.reverses is not None,
        }
        for row in verdicts
    ]
    by_another = a.settled_by.is_distinct_from(ANALYST) | bindparam("back", type_=Boolean)
    new: dict[str, Any] = {"state": bindparam("now"), "settled_by": ANALYST}
    db.execute(update(t.alerts).where(a.event_id == bindparam("of"), by_another).values(new), said)


def _meet_earlier_labels(db: Connection, event_ids: Sequence[str], counts: Counter[str]) -> None:
    """Alerts whose event was labelled before they came."""
    before = {event_id: said for event_id, said in _labelled(db, event_ids).items() if not said.alerted}
    now = {event_id: Said(said.fraud, said.source, True) for event_id, said in before.items()}
    for said in now.values():
        counts["alerts_labelled"] += 1
        counts["alerts_fraud"] += said.fraud
    _keep_labelled(db, now, before)


def _tally(counts: Counter[str], said: Collection[Said], by: int) -> None:
    alerted = [each for each in said if each.alerted]
    counts["labelled"] += by * len(said)
    counts["labelled_fraud"] += by * sum([each.fraud for each in said])
    counts["alerts_labelled"] += by * len(alerted)
    counts["alerts_fraud"] += by * sum([each.fraud for each in alerted])


def _keep_labelled(db: Connection, said: Mapping[str, Said], before: Mapping[str, Said]) -> None:
    """Keep the newest labels; an open alert of such an event is answered: nobody needs to look at it any more."""
    new = [(event_id, *astuple(each)) for event_id, each in said.items() if event_id not in before]
    bulk.insert(db, t.labelled, LABELLED, sorted(new, key=FIRST))
    replace(db, t.labelled, [{"event_id": event_id, **asdict(said[event_id])} for event_id in before])
    a = t.alerts.c
    answered = [
        {"of": event_id, "now": "fraud" if each.fraud else "legitimate", "by": each.source}
        for event_id, each in said.items()
        if each.alerted
    ]
    if answered:
        waiting = (a.event_id == bindparam("of")) & (a.state == OPEN)
        new_state: dict[str, Any] = {"state": bindparam("now"), "settled_by": bindparam("by")}
        db.execute(update(t.alerts).where(waiting).values(new_state), answered)


def _labelled(db: Connection, event_ids: Collection[str]) -> dict[str, Said]:
    known = bulk.found(db, t.labelled.c.event_id, LABELLED, event_ids)
    return {event_id: Said(bool(fraud), source, bool(alerted)) for event_id, fraud, source, alerted in known}


def _known(db: Connection, key: Column[Any], ids: Collection[str]) -> set[str]:
    return {known for (known,) in bulk.found(db, key, [key.name], ids)}
