"""The review queue in SQL: alerts that wait for a person, verdicts, and the outbox that turns them into labels."""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection, func, insert, select, update

from features.events import to_datetime
from stream.codec import encode
from stream.decisions import AlertRecord, DecisionRecord, LabelRecord
from stream.envelope import Forgotten
from stream.keyring import Opener
from stream.records import ARRIVED, Outgoing
from stream.review import tables as t
from stream.review.ledger import Ledger, now_us
from stream.review.recording import ANALYST, OPEN
from stream.sealing import SealError

VERDICTS = ("fraud", "legitimate")

STATES = (OPEN, *VERDICTS)

FORGOTTEN = 1_000_000
"""More verdicts than anybody gives between two backups."""

logger = logging.getLogger(__name__)

OpenerOf = Callable[[Sequence[bytes]], Opener]
"""Makes what opens these envelopes."""


class QueueError(Exception):
    """A verdict that cannot be taken: why."""


class NoSuchAlert(QueueError):
    """There is no alert of this id."""


class Case(msgspec.Struct, frozen=True):
    """An alert as an analyst sees it."""

    alert: AlertRecord
    state: str  # "open", "fraud" or "legitimate"
    settled_by: str | None = (
        None  # "analyst", or the source of the label that settled it; None while it is open
    )
    decision: DecisionRecord | None = None  # None where it was not asked for, or is not recorded yet
    people: dict[str, str | None] = {}  # personal entities as an analyst may see them; None: forgotten


class Statistics(msgspec.Struct, frozen=True):
    """How the stream and its alerts do; shares are None where nothing was labelled yet."""

    events: int
    alerts: int
    open: int
    labelled: int
    alerts_labelled: int
    fraud_rate: float | None  # of the labelled events
    alert_precision: float | None  # of the labelled alerts
    lift: float | None  # alert_precision / fraud_rate


class ReviewQueue:
    """Lists alerts, and takes verdicts."""

    def __init__(
        self, ledger: Ledger, unseal: Callable[[bytes], bytes], opener: OpenerOf | None = None
    ) -> None:
        """Work on the tables of `ledger`; `unseal` opens the keys that the recorder sealed.

        Without an `opener` of what is sealed for people analysts see keyed hashes of them.
        """
        self._opener = opener
        self._ledger = ledger
        self._unseal = unseal
        self._engine = ledger.engine
        self._reading = ledger.engine.execution_options(reading=True)

    def alerts(self, limit: int = 50, state: str = OPEN) -> list[Case]:
        """Alerts in one state: the open ones by score, the others newest first."""
        a = t.alerts.c
        order = (a.score.desc(), a.arrived_us.desc()) if state == OPEN else (a.arrived_us.desc(),)
        query = select(a.record, a.state, a.settled_by).where(a.state == state).order_by(*order).limit(limit)
        with self._reading.connect() as db:
            rows = db.execute(query).all()
        found = [_alert(row.record) for row in rows]
        people = self._people(found)
        return [
            Case(alert, row.state, row.settled_by, people=theirs)
            for alert, row, theirs in zip(found, rows, people, strict=True)
        ]

    def _people(self, alerts: Sequence[AlertRecord]) -> list[dict[str, str | None]]:
        """Of each alert its personal entities; the keys of all are asked for at once."""
        sealed = [{} if alert.sealed is UNSET else _decoded(alert.sealed) for alert in alerts]
        if self._opener is None or not any(sealed):
            return [{} for _ in alerts]
        opener = self._opener([value for each in sealed for value in each.values()])
        return [_opened(opener, each) for each in sealed]

    def case(self, alert_id: str) -> Case | None:
        """One alert with the whole decision behind it."""
        a = t.alerts.c
        query = select(a.record, a.state, a.settled_by).where(a.alert_id == alert_id)
        with self._reading.connect() as db:
            row = db.execute(query).one_or_none()
        if row is None:
            return None
        alert = _alert(row.record)
        record = self._ledger.decision(alert.event_id)
        decision = None if record is None else msgspec.json.decode(record, type=DecisionRecord)
        return Case(alert, row.state, row.settled_by, decision, *self._people([alert]))

    def statistics(self) -> Statistics:
        """How the stream and its alerts do, from counters that the recorder keeps."""
        counters = self._ledger.counters()
        labelled, alerts_labelled = counters.get("labelled", 0), counters.get("alerts_labelled", 0)
        rate = _share(counters.get("labelled_fraud", 0), labelled)
        precision = _share(counters.get("alerts_fraud", 0), alerts_labelled)
        return Statistics(
            events=counters.get("events", 0),
            alerts=counters.get("alerts", 0),
            open=self.open(),
            labelled=labelled,
            alerts_labelled=alerts_labelled,
            fraud_rate=rate,
            alert_precision=precision,
            lift=precision / rate if precision is not None and rate else None,
        )

    def open(self) -> int:
        """How many alerts wait for a person."""
        with self._reading.connect() as db:
            query = select(func.count()).select_from(t.alerts).where(t.alerts.c.state == OPEN)
            return int(db.execute(query).scalar_one())

    def give(self, alert_id: str, verdict: str) -> None:
        """Close an alert with a verdict, and put its label into the outbox, in one transaction.

        Another verdict on a closed alert takes the first one back; the same one again changes nothing. Raises
        NoSuchAlert, or QueueError for a verdict that is none.
        """
        if verdict not in VERDICTS:
            raise QueueError(f"the verdict {verdict!r} is neither fraud nor legitimate")
        arrived_us = self._ledger.clock_us(now_us())
        a = t.alerts.c
        with self._engine.begin() as db:
            query = select(a.event_id, a.state, a.settled_by, a.key).where(a.alert_id == alert_id)
            row = db.execute(query.with_for_update()).one_or_none()
            if row is None:
                raise NoSuchAlert(f"there is no alert {alert_id!r}")
            if row.state == verdict and row.settled_by == ANALYST:
                return
            settled = {"state": verdict, "settled_by": ANALYST}
            db.execute(update(t.alerts).where(a.alert_id == alert_id).values(settled))
            _put_out(db, alert_id, row, verdict, arrived_us)

    def unsent(self, limit: int = 100) -> list[tuple[int, Outgoing]]:
        """Verdicts that are not on the log yet, in order: their numbers and their records."""
        query = select(*t.outbox.c).where(t.outbox.c.sent.is_(False)).order_by(t.outbox.c.number).limit(limit)
        with self._reading.connect() as db:
            return [(row.number, self._label(row)) for row in db.execute(query)]

    def waiting(self) -> int:
        """How many verdicts are not on the log yet."""
        with self._reading.connect() as db:
            query = select(func.count()).select_from(t.outbox).where(t.outbox.c.sent.is_(False))
            return int(db.execute(query).scalar_one())

    def sent(self, numbers: list[int]) -> None:
        """These verdicts are on the log."""
        with self._engine.begin() as db:
            db.execute(update(t.outbox).where(t.outbox.c.number.in_(numbers)).values(sent=True))

    def _label(self, row: Any) -> Outgoing:
        record = LabelRecord(
            label_id=label_id(row.number, row.alert_id),
            event_id=row.event_id,
            label="fraud" if row.fraud else "legitimate",
            source=ANALYST,
            labelled_at=to_datetime(row.arrived_us).isoformat(),
            reverses=row.reverses,
        )
        key = None if row.key is None else self._unseal(row.key)
        return Outgoing(key, encode(record), ((ARRIVED, b"%d" % row.arrived_us),))


def _decoded(sealed: Mapping[str, str]) -> dict[str, bytes]:
    return {name: _bytes(text) for name, text in sealed.items()}


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text)
    except ValueError:
        return b""  # no envelope either


def _opened(opener: Opener, sealed: Mapping[str, bytes]) -> dict[str, str | None]:
    """Values by entity; None where the person was forgotten. What cannot be opened is left out."""
    people: dict[str, str | None] = {}
    for name, value in sealed.items():
        try:
            people[name] = opener.open(value).decode()
        except Forgotten:
            people[name] = None
        except SealError as error:
            logger.warning("an alert's %s cannot be opened: %s", name, error)
    return people


def label_id(number: int, alert_id: str) -> str:
    """A verdict's label: the same whenever it is sent, so that sending it again is a duplicate."""
    return f"verdict-{number}-{alert_id}"


def skip_numbers(db: Connection) -> None:
    """Leave out the numbers of verdicts that this database may have forgotten, since it was restored from a copy.

    Their labels lie on the log: a new verdict on the same alert that got the same number would be taken for one of them.
    """
    o = t.outbox.c
    last = db.execute(select(func.coalesce(func.max(o.number), 0))).scalar_one()
    gone = {"alert_id": "", "event_id": "", "fraud": False, "arrived_us": 0, "sent": True}
    db.execute(insert(t.outbox).values(number=last + FORGOTTEN, **gone))
    if db.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(t.outbox.name, o.number.name)
        db.execute(select(func.setval(sequence, last + FORGOTTEN)))


def _before(db: Connection, alert_id: str, row: Any) -> str | None:
    """The label of the verdict before; where the database was restored since then, it came back from the log."""
    o = t.outbox.c
    earlier = select(o.number).where(o.alert_id == alert_id).order_by(o.number.desc()).limit(1)
    before = db.execute(earlier).scalar()
    if before is not None:
        return label_id(before, alert_id)
    return _from_log(db, row.event_id) if row.settled_by == ANALYST else None


def _from_log(db: Connection, event_id: str) -> str | None:
    """An event's newest label of an analyst's that nobody took back. Seldom asked, so there is no index for it."""
    said, later = t.labels.c, t.labels.alias().c
    taken_back = select(later.reverses).where(later.event_id == event_id, later.reverses.is_not(None))
    mine = (said.event_id == event_id, said.source == ANALYST, said.label_id.not_in(taken_back))
    query = select(said.label_id).where(*mine).order_by(said.arrived_us.desc()).limit(1)
    return db.execute(query).scalar()


def _put_out(db: Connection, alert_id: str, row: Any, verdict: str, arrived_us: int) -> None:
    db.execute(
        insert(t.outbox).values(
            alert_id=alert_id,
            event_id=row.event_id,
            fraud=verdict == "fraud",
            arrived_us=arrived_us,
            reverses=_before(db, alert_id, row),
            key=row.key,
            sent=False,
        )
    )


def _alert(record: bytes) -> AlertRecord:
    return msgspec.json.decode(record, type=AlertRecord)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
