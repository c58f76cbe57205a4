"""How many partitions the input topics had when the state was made: kept with the state, since keys move when it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Engine, select

from stream.review import tables as t
from stream.review.database import insert_new, replace

PREFIX = "partitions of "
"""Before a topic's name, in the table of counters."""


def remember(engine: Engine, partitions: Mapping[str, int]) -> dict[str, int]:
    """Keep the counts of topics that are not known yet; gives, for all of these, the counts that are kept."""
    rows = [{"name": PREFIX + topic, "value": count} for topic, count in partitions.items()]
    with engine.begin() as db:
        insert_new(db, t.counters, rows)
    return kept(engine, partitions)


def kept(engine: Engine, topics: Iterable[str]) -> dict[str, int]:
    """By topic: the number of partitions that the state was made with, where one is kept."""
    c = t.counters.c
    query = select(c.name, c.value).where(c.name.in_([PREFIX + topic for topic in topics]))
    with engine.execution_options(reading=True).connect() as db:
        rows = db.execute(query).all()
    return {row.name.removeprefix(PREFIX): row.value for row in rows}


def accept(engine: Engine, partitions: Mapping[str, int]) -> None:
    """Keep these counts from now on, whatever was kept before."""
    rows = [{"name": PREFIX + topic, "value": count} for topic, count in partitions.items()]
    with engine.begin() as db:
        replace(db, t.counters, rows)
