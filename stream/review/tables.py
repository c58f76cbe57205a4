"""The SQL tables: the ledger of decisions, the queue of alerts, labels, dead letters, models, and who read how far."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    event,
    select,
    text,
)

metadata = MetaData()
"""What the newest migration makes: how to change it is told in stream/review/migrations."""

alembic_version = Table("alembic_version", metadata, Column("version_num", String(32), nullable=False))
alembic_version.append_constraint(PrimaryKeyConstraint("version_num", name="alembic_version_pkc"))

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))
"""How the first Weirs marked their schema; a Weir before `alembic_version` refuses a database whose number is not 1."""

VERSION = 2
"""The number in `schema_version`."""

decided = Table(  # an id's first decision, which alone counts, whatever event time a later one carries
    "decided",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("event_time", DateTime(timezone=True), nullable=False),
    Column("body", String, nullable=False),
)
Index("decided_by_time", decided.c.event_time)

decisions = Table(  # on PostgreSQL by month of the event: see stream/review/periods.py
    "decisions",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("event_time", DateTime(timezone=True), primary_key=True),  # UTC, by the event's own clock
    Column("number", BigInteger, nullable=False),  # the order in which they were recorded
    Column("arrived_us", BigInteger, nullable=False),
    Column("decided_us", BigInteger, nullable=False),  # by the wall clock
    Column("outcome", String, nullable=False),
    Column("score", Double, nullable=False),
    Column("model_version", String, nullable=False),
    Column("record", LargeBinary, nullable=False),  # the complete decision, JSON as it came
    postgresql_partition_by="RANGE (event_time)",
)
Index("decisions_in_order", decisions.c.number)
Index("decisions_by_model", decisions.c.model_version)


@event.listens_for(decisions, "after_create")
def _make_default_partition(_: Table, db: Connection, **__: object) -> None:
    if db.dialect.name == "postgresql":
        db.execute(text("CREATE TABLE decisions_default PARTITION OF decisions DEFAULT"))


same = (decisions.c.event_id == decided.c.event_id) & (decisions.c.event_time == decided.c.event_time)

record_of = select(decisions.c.record).where(same).scalar_subquery()
"""The decision of a row of `decided`; None where it was let go.

The time leads to the one partition where it stands. (PostgreSQL may plan a join of the two as a scan of all partitions.)
"""

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", String, primary_key=True),
    Column("event_id", String, nullable=False, unique=True),
    Column("score", Double, nullable=False),
    Column("arrived_us", BigInteger, nullable=False),
    Column("state", String, nullable=False),  # "open", or what was said of it: "fraud", "legitimate"
    Column("settled_by", String),  # who said so: an analyst, or the source of a label that came first
    Column("key", LargeBinary),  # of the record on the log, sealed: its label must carry the same
    Column("record", LargeBinary, nullable=False),
)
Index("alerts_open", alerts.c.state, alerts.c.score, alerts.c.arrived_us)

labels = Table(
    "labels",
    metadata,
    Column("label_id", String, primary_key=True),
    Column("event_id", String, nullable=False),
    Column("fraud", Boolean, nullable=False),
    Column("source", String, nullable=False),
    Column("labelled_at", String, nullable=False),
    Column("arrived_us", BigInteger, nullable=False),
    Column("reverses", String),
)

labelled = Table(  # an event's newest label
    "labelled",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("fraud", Boolean, nullable=False),
    Column("source", String, nullable=False),
    Column("alerted", Boolean, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("topic", String, primary_key=True),  # where the record stood, and stands in its `.dlq` sealed
    Column("part", BigInteger, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("reason", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("key", LargeBinary),  # sealed, like the value
    Column("value", LargeBinary, nullable=False),
)
Index("dead_letters_newest", dead_letters.c.at_us)

person_keys = Table(
    "person_keys",
    metadata,
    Column("person", String, primary_key=True),  # a keyed hash of a personal entity's value
    Column("key", LargeBinary, nullable=False),  # theirs, wrapped by the master key
)

forgotten = Table(  # whose keys were deleted
    "forgotten",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # the order in which they were
    Column("person", String, nullable=False, unique=True),
    Column("at_us", BigInteger, nullable=False),  # the last time, by the stream's clock
)

outbox = Table(  # verdicts on their way to the log
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("alert_id", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("fraud", Boolean, nullable=False),
    Column("arrived_us", BigInteger, nullable=False),
    Column("reverses", String),
    Column("key", LargeBinary),  # sealed
    Column("sent", Boolean, nullable=False),
)
Index("outbox_unsent", outbox.c.sent, outbox.c.number)

positions = Table(
    "positions",
    metadata,
    Column("reader", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("part", BigInteger, primary_key=True),
    Column("after", BigInteger, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("model_version", String, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

leases = Table(  # who works, where only one may: counted up while it does, numbered anew with every take-over
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("holder", String),
)

learned_labels = Table("learned_labels", metadata, Column("label_id", String, primary_key=True))

waiting_labels = Table(
    "waiting_labels",
    metadata,
    Column("label_id", String, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
