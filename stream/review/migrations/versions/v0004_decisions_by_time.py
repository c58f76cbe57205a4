"""Decisions by event time: partitions on PostgreSQL, and a table that holds each id once."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OURS = {
    "postgresql": r"event_time ~ '^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d(\.\d{6})?\+00:00$'",
    "sqlite": "event_time GLOB '[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]*+00:00'",
}
"""Whether a time is written as Weir writes it; what somebody else put on the topic is filed under its arrival."""

AS_TIME = {
    "postgresql": "CASE WHEN {ours} THEN event_time::timestamptz ELSE to_timestamp(arrived_us / 1e6) END",
    "sqlite": """CASE WHEN {ours} THEN replace(substr(event_time, 1, 19), 'T', ' ') || '.' ||
        CASE substr(event_time, 20, 1) WHEN '.' THEN substr(event_time, 21, 6) ELSE '000000' END
        ELSE strftime('%Y-%m-%d %H:%M:%S', arrived_us / 1000000, 'unixepoch') ||
        printf('.%06d', arrived_us % 1000000) END""",
}

AS_TEXT = {
    "postgresql": "convert_from(record, 'UTF8')::json ->> 'event_time'",
    "sqlite": "json_extract(CAST(record AS TEXT), '$.event_time')",
}

KEPT = "event_id, number, arrived_us, decided_us, outcome, score, model_version, record"

PERIODS = """
DO $$
DECLARE month timestamptz;
BEGIN
    FOR month IN SELECT DISTINCT date_trunc('month', event_time, 'UTC') FROM decided
            WHERE event_time BETWEEN '1970-01-01' AND now() + interval '31 days' LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF decisions FOR VALUES FROM (%L) TO (%L)',
            'decisions_' || to_char(month AT TIME ZONE 'UTC', 'YYYYMMDD') ||
            to_char(month AT TIME ZONE 'UTC' + interval '1 month', '_YYYYMMDD'),
            month, (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Copy the decisions into their partitions; older Weirs, which write otherwise, are kept out."""
    dialect = op.get_bind().dialect.name
    _set_aside("decisions_in_order", "decisions_by_model")
    _make()
    at = AS_TIME[dialect].format(ours=OURS[dialect])
    op.execute(
        f"INSERT INTO decided (event_id, event_time, body) SELECT event_id, {at}, body FROM old_decisions"
    )
    if dialect == "postgresql":
        op.execute("CREATE TABLE decisions_default PARTITION OF decisions DEFAULT")
        op.execute(PERIODS)
    kept = KEPT.replace("event_id", "o.event_id")
    op.execute(
        f"INSERT INTO decisions (event_time, {KEPT}) SELECT d.event_time, {kept} "
        "FROM old_decisions o JOIN decided d ON d.event_id = o.event_id"
    )
    op.drop_table("old_decisions")
    op.execute("UPDATE schema_version SET version = 2")


def downgrade() -> None:
    """Copy the decisions back into one table."""
    _set_aside("decisions_in_order", "decisions_by_model")
    _make_old()
    text, kept = AS_TEXT[op.get_bind().dialect.name], KEPT.replace("event_id", "o.event_id")
    op.execute(
        f"INSERT INTO decisions (event_time, body, {KEPT}) SELECT {text}, d.body, {kept} "
        "FROM old_decisions o JOIN decided d ON d.event_id = o.event_id"
    )
    op.drop_table("old_decisions")
    op.drop_table("decided")
    op.execute("UPDATE schema_version SET version = 1")


def _set_aside(*indexes: str) -> None:
    """Free the names of the table and its indexes."""
    for index in indexes:
        op.drop_index(index, "decisions")
    op.rename_table("decisions", "old_decisions")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX decisions_pkey RENAME TO old_decisions_pkey")


def _make() -> None:
    op.create_table(
        "decided",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.String, nullable=False),
    )
    op.create_index("decided_by_time", "decided", ["event_time"])
    op.create_table(
        "decisions",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("event_time", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("arrived_us", sa.BigInteger, nullable=False),
        sa.Column("decided_us", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        postgresql_partition_by="RANGE (event_time)",
    )
    op.create_index("decisions_in_order", "decisions", ["number"])
    op.create_index("decisions_by_model", "decisions", ["model_version"])


def _make_old() -> None:
    op.create_table(
        "decisions",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("event_time", sa.String, nullable=False),
        sa.Column("arrived_us", sa.BigInteger, nullable=False),
        sa.Column("decided_us", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("decisions_in_order", "decisions", ["number"], unique=True)
    op.create_index("decisions_by_model", "decisions", ["model_version"])
