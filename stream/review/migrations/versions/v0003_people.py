"""A key for each person, and who was forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "person_keys",
        sa.Column("person", sa.String, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "forgotten",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("person", sa.String, nullable=False, unique=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them: what was sealed for people cannot be opened any more."""
    op.drop_table("forgotten")
    op.drop_table("person_keys")
