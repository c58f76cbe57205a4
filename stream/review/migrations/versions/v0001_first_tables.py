"""The tables as the first Weirs made them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    _mark()
    _make_decisions()
    _make_alerts()
    _make_labels()
    _make_dead_letters()
    _make_outbox()
    _make_positions()
    _make_learning()


def downgrade() -> None:
    """Leave nothing."""
    for table in (
        "waiting_labels",
        "learned_labels",
        "snapshots",
        "positions",
        "outbox",
        "dead_letters",
        "counters",
        "labelled",
        "labels",
        "alerts",
        "decisions",
        "schema_version",
    ):
        op.drop_table(table)


def _mark() -> None:
    table = op.create_table("schema_version", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(table, [{"version": 1}])


def _make_decisions() -> None:
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


def _make_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String, primary_key=True),
        sa.Column("event_id", sa.String, nullable=False, unique=True),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("arrived_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("settled_by", sa.String),
        sa.Column("key", sa.LargeBinary),
        sa.Column("record", sa.LargeBinary, nullable=False),
    )
    op.create_index("alerts_open", "alerts", ["state", "score", "arrived_us"])


def _make_labels() -> None:
    op.create_table(
        "labels",
        sa.Column("label_id", sa.String, primary_key=True),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("fraud", sa.Boolean, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("labelled_at", sa.String, nullable=False),
        sa.Column("arrived_us", sa.BigInteger, nullable=False),
        sa.Column("reverses", sa.String),
    )
    op.create_table(
        "labelled",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("fraud", sa.Boolean, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("alerted", sa.Boolean, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def _make_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("part", sa.BigInteger, primary_key=True),
        sa.Column("offset", sa.BigInteger, primary_key=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_index("dead_letters_newest", "dead_letters", ["at_us"])


def _make_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("alert_id", sa.String, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("fraud", sa.Boolean, nullable=False),
        sa.Column("arrived_us", sa.BigInteger, nullable=False),
        sa.Column("reverses", sa.String),
        sa.Column("key", sa.LargeBinary),
        sa.Column("sent", sa.Boolean, nullable=False),
    )
    op.create_index("outbox_unsent", "outbox", ["sent", "number"])


def _make_positions() -> None:
    op.create_table(
        "positions",
        sa.Column("reader", sa.String, primary_key=True),
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("part", sa.BigInteger, primary_key=True),
        sa.Column("after", sa.BigInteger, nullable=False),
    )


def _make_learning() -> None:
    op.create_table(
        "snapshots",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("model_version", sa.String, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table("learned_labels", sa.Column("label_id", sa.String, primary_key=True))
    op.create_table(
        "waiting_labels",
        sa.Column("label_id", sa.String, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
