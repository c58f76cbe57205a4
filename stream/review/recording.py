"""What the recorder's transaction does: new rows in, known ones left as they are, and the counters kept with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Connection, bindparam, func, select, update

from stream.records import TP
from stream.review import tables as t
from stream.review.bulk import among
from stream.review.database import add_values, in_chunks, insert_all, insert_new, replace

OPEN = "open"
"""The state of an alert that nobody said anything of; the others are the labels, "fraud" and "legitimate"."""

ANALYST = "analyst"
"""The source of labels that are verdicts."""

Row = dict[str, Any]


class Batch(msgspec.Struct):
    """Rows of one chunk, as dicts by column name, and the offsets behind them.

    A decision's row holds under "alert" the row of its alert, or None.
    """

    decisions: list[Row] = []
    labels: list[Row] = []
    dead_letters: list[Row] = []
    positions: dict[TP, int] = {}


class Said(msgspec.Struct, frozen=True):
    """An event's newest label, and whether the event has an alert."""

    fraud: bool
    source: str
    alerted: bool


def record_batch(db: Connection, batch: Batch) -> Counter[str]:
    """Write all rows but the positions; counts what was new (events, alerts, ...), `repeated`, and `conflicts`."""
    counts: Counter[str] = Counter()
    fresh = _record_decisions(db, batch.decisions, counts)
    new_alerts = _record_alerts(db, [row["alert"] for row in fresh if row["alert"]], counts)
    _record_labels(db, batch.labels, counts)
    _meet_earlier_labels(db, new_alerts, counts)
    insert_new(db, t.dead_letters, batch.dead_letters)
    _count(db, counts)
    return counts


def _record_decisions(db: Connection, rows: Sequence[Row], counts: Counter[str]) -> list[Row]:
    """Write the first decision of each event; gives those that were."""
    first = {row["event_id"]: row for row in reversed(rows)}
    bodies = _bodies(db, first)
    for row in rows:
        counts["conflicts"] += row["body"] != bodies.get(row["event_id"], first[row["event_id"]]["body"])
    fresh = [row for row in rows if row["event_id"] not in bodies and first[row["event_id"]] is row]
    if fresh:
        _keep_decisions(db, fresh)
    counts["events"] += len(fresh)
    counts["repeated"] += len(rows) - len(fresh)
    return fresh


def _keep_decisions(db: Connection, rows: Sequence[Row]) -> None:
    after = db.execute(select(func.coalesce(func.max(t.decisions.c.number), 0))).scalar_one()
    insert_all(db, t.decided, rows)
    insert_all(db, t.decisions, [{**row, "number": number} for number, row in enumerate(rows, after + 1)])


def _bodies(db: Connection, event_ids: Iterable[str]) -> dict[str, str]:
    """The digests of those of these events that are decided."""
    d, found = t.decided.c, {}
    for ids in in_chunks(event_ids):
        for event_id, body in db.execute(select(d.event_id, d.body).where(among(db, d.event_id, ids))):
            found[event_id] = body
    return found


def _record_alerts(db: Connection, rows: Sequence[Row], counts: Counter[str]) -> list[str]:
    """Write alerts of first decisions; gives their events. One that outlived its decision's retention is known."""
    known = _known(db, t.alerts.c.event_id, [row["event_id"] for row in rows])
    fresh = [row for row in rows if row["event_id"] not in known]
    insert_all(db, t.alerts, fresh)
    counts["alerts"] += len(fresh)
    return [row["event_id"] for row in fresh]


def _record_labels(db: Connection, rows: Sequence[Row], counts: Counter[str]) -> None:
    first = {row["label_id"]: row for row in reversed(rows)}
    known = _known(db, t.labels.c.label_id, first)
    fresh = [row for row in rows if row["label_id"] not in known and first[row["label_id"]] is row]
    if not fresh:
        return
    insert_all(db, t.labels, fresh)
    newest = {row["event_id"]: row for row in fresh}
    before = _labelled(db, newest)
    alerted = _known(db, t.alerts.c.event_id, newest)
    now = {
        event_id: Said(row["fraud"], row["source"], event_id in alerted) for event_id, row in newest.items()
    }
    for said in before.values():
        _tally(counts, said, by=-1)
    for said in now.values():
        _tally(counts, said, by=1)
    _keep_labelled(db, now)
    _settle_again(db, [row for row in fresh if row["source"] == ANALYST and row["event_id"] in alerted])


def _settle_again(db: Connection, verdicts: Sequence[Row]) -> None:
    """Verdicts settle their alerts when they are given; again here, for a database that was restored since then."""
    if not verdicts:
        return
    a = t.alerts.c
    said = [
        {
            "of": row["event_id"],
            "now": "fraud" if row["fraud"] else "legitimate",
            "back": row["reverses"] is not None,
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
    _keep_labelled(db, now)


def _tally(counts: Counter[str], said: Said, by: int) -> None:
    counts["labelled"] += by
    counts["labelled_fraud"] += by * said.fraud
    counts["alerts_labelled"] += by * said.alerted
    counts["alerts_fraud"] += by * (said.alerted and said.fraud)


def _keep_labelled(db: Connection, said: Mapping[str, Said]) -> None:
    """Keep the newest labels; an open alert of such an event is answered: nobody needs to look at it any more."""
    rows = [{"event_id": event_id, **msgspec.structs.asdict(each)} for event_id, each in said.items()]
    replace(db, t.labelled, rows)
    a = t.alerts.c
    answered = [
        {"of": event_id, "now": "fraud" if each.fraud else "legitimate", "by": each.source}
        for event_id, each in said.items()
        if each.alerted
    ]
    if answered:
        waiting = (a.event_id == bindparam("of")) & (a.state == OPEN)
        new: dict[str, Any] = {"state": bindparam("now"), "settled_by": bindparam("by")}
        db.execute(update(t.alerts).where(waiting).values(new), answered)


def _labelled(db: Connection, event_ids: Iterable[str]) -> dict[str, Said]:
    table, found = t.labelled.c, {}
    for ids in in_chunks(event_ids):
        columns = (table.event_id, table.fraud, table.source, table.alerted)
        for event_id, fraud, source, alerted in db.execute(
            select(*columns).where(among(db, table.event_id, ids))
        ):
            found[event_id] = Said(fraud, source, alerted)
    return found


def _known(db: Connection, column: Column[Any], ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for some in in_chunks(ids):
        found.update(db.execute(select(column).where(among(db, column, some))).scalars())
    return found


def _count(db: Connection, counts: Counter[str]) -> None:
    rows = [{"name": name, "value": value} for name, value in counts.items() if value]
    add_values(db, t.counters, rows)
