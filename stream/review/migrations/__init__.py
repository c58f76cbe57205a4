"""The schema's history: how a database of any earlier Weir becomes one of this Weir, and how it goes back.

`stream/review/tables.py` is the one description of the schema. To change it:

1. Change tables.py.
2. Add `versions/vNNNN_what_it_does.py` with the next number: copy the newest, set `revision` and `down_revision`, and
   write `upgrade` and `downgrade` with Alembic's operations. SQLite changes a table only by copying it: use
   `op.batch_alter_table`. A migration never imports tables.py, which goes on changing.
3. Run tests/contract/test_migrations.py, on both databases (tests/integration/test_postgres.py): it holds the newest
   revision to tables.py, and takes a database with data in every table up and down through yours.

A database is brought to the newest revision when it is connected to, in one transaction, under the schema's lock.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from stream.review import tables as t

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent

BASE = "base"
"""The revision of an empty database."""

BEFORE_ALEMBIC = {1: "0001"}
"""By the number in `schema_version`, which is how the first Weirs marked their schema: the revision that it is."""


class SchemaError(Exception):
    """A schema that this Weir cannot use: why, and what to do."""


@cache
def revisions() -> tuple[str, ...]:
    """All revisions that this Weir knows, oldest first: the numbers in the names of the files."""
    return tuple(sorted(path.stem[1:5] for path in (HERE / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py")))


def head() -> str:
    """The revision that this Weir works on."""
    return revisions()[-1]


def at_head(db: Connection) -> bool:
    """Whether there is nothing to bring to head."""
    return _stamped(db) == head()


def revision_of(db: Connection) -> str:
    """The revision of a database, BASE if it is empty; raises SchemaError if this Weir does not know it."""
    found = _stamped(db) or _before_alembic(db)
    if found not in (*revisions(), BASE):
        raise SchemaError(
            f"its schema is {found}, and the newest that this Weir knows is {head()}: "
            "use the Weir that wrote it, or another database"
        )
    return found


def bring_to_head(db: Connection) -> None:
    """Make the schema this Weir's, in the caller's transaction, which must be the only one to do so."""
    found = revision_of(db)
    if found == BASE:
        t.metadata.create_all(db)
        db.execute(t.schema_version.insert().values(version=t.VERSION))
        _stamp(db, head())
        return
    if not _stamped(db):
        t.alembic_version.create(db, checkfirst=True)
        _stamp(db, found)
    if found != head():
        logger.info("the database's schema goes from %s to %s", found, head())
        move(db, head())


def move(db: Connection, to: str) -> None:
    """Migrate up or down to a revision, in the caller's transaction; BASE leaves no table of Weir's."""
    from alembic import command  # imported here: it takes long, and there is seldom anything to migrate
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = db
    down = to == BASE or to < (_stamped(db) or "")
    (command.downgrade if down else command.upgrade)(config, to)


def _stamp(db: Connection, revision: str) -> None:
    db.execute(t.alembic_version.insert().values(version_num=revision))


def _stamped(db: Connection) -> str | None:
    if not inspect(db).has_table(t.alembic_version.name):
        return None
    return db.execute(select(t.alembic_version.c.version_num)).scalar()


def _before_alembic(db: Connection) -> str:
    if not inspect(db).has_table(t.schema_version.name):
        return BASE
    number = db.execute(select(t.schema_version.c.version)).scalar_one()
    return BEFORE_ALEMBIC.get(number, str(number))
