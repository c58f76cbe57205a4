"""People's keys in SQL, wrapped by the master key, and who was forgotten and when."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Engine, delete, func, insert, null, select

from stream.keyring import Held, Newcomer
from stream.review import tables as t
from stream.review.bulk import in_chunks
from stream.review.database import PEOPLE, insert_new, one_writer, shared_writer
from stream.review.patience import patiently
from stream.sealing import Sealer, SealError

logger = logging.getLogger(__name__)


MASTER = "seal key"
"""In the table of counters: the id of the master key, as a number."""

WHAT = "people's keys cannot be had"


class People:
    """The keys of everybody whom events were about (stream.keyring.KeyStore). Safe for several threads and processes."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        """Use the master key of `sealer`; raises SealError if this database's keys were made with another."""
        self._engine = engine
        self._reading = engine.execution_options(reading=True)
        refuse_other_master(engine, sealer)

    def find(self, people: Iterable[str]) -> dict[str, Held]:
        """Those of these people of whom anything is known."""
        wanted = list(people)
        return patiently(lambda: self._found(wanted), WHAT)

    def _found(self, wanted: Sequence[str]) -> dict[str, Held]:
        with self._reading.connect() as db:
            return _held(db, wanted)

    def make(self, newcomers: Sequence[Newcomer]) -> dict[str, Held]:
        """Keep keys for people who have none and were not forgotten since their event came; gives what is kept then."""
        return patiently(lambda: self._made(newcomers), WHAT)

    def _made(self, newcomers: Sequence[Newcomer]) -> dict[str, Held]:
        people = [each.person for each in newcomers]
        with self._engine.begin() as db:
            shared_writer(db, PEOPLE)  # nobody is forgotten between the look and the key
            known = _held(db, people)
            lacking = [
                each for each in newcomers if each.arrived_us > known.get(each.person, Held()).forgotten_us
            ]
            # Who makes the same keys at once waits for the other, in one order.
            lacking.sort(key=lambda each: each.person)
            insert_new(db, t.person_keys, [{"person": each.person, "key": each.key} for each in lacking])
            return _held(db, people)

    def forget(self, person: str, at_us: int) -> bool:
        """Delete a person's key, and remember that it was; whether there was one."""
        with self._engine.begin() as db:
            if db.dialect.name == "sqlite":
                # The page is overwritten, not only given back.
                db.exec_driver_sql("PRAGMA secure_delete = ON")
            one_writer(db, PEOPLE)
            k, f = t.person_keys.c, t.forgotten.c
            deleted = db.execute(delete(t.person_keys).where(k.person == person)).rowcount
            number = db.execute(select(func.coalesce(func.max(f.number), 0))).scalar_one() + 1
            before = db.execute(select(f.at_us).where(f.person == person)).scalar()
            db.execute(delete(t.forgotten).where(f.person == person))
            at_us = max(at_us, before if before is not None else at_us)
            db.execute(insert(t.forgotten).values(number=number, person=person, at_us=at_us))
        self._overwrite_log()
        return bool(deleted)

    def _overwrite_log(self) -> None:
        """SQLite's write-ahead log still has the pages as they were."""
        if self._engine.dialect.name == "sqlite":
            with self._reading.connect() as db:
                db.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    def forgotten(self, after: int) -> tuple[int, list[str]]:
        """The number of the newest forgetting, and who was forgotten after the number `after`."""
        return patiently(lambda: self._forgotten(after), WHAT)

    def _forgotten(self, after: int) -> tuple[int, list[str]]:
        f = t.forgotten.c
        query = select(f.number, f.person).where(f.number > after).order_by(f.number)
        with self._reading.connect() as db:
            rows = db.execute(query).all()
        return (rows[-1].number if rows else after), [row.person for row in rows]


def _held(db: Connection, people: Iterable[str]) -> dict[str, Held]:
    """One statement for each 500 people."""
    k, f = t.person_keys.c, t.forgotten.c
    found: dict[str, Held] = {}
    for some in in_chunks(people):
        keys = select(k.person, k.key, f.at_us).outerjoin_from(
            t.person_keys, t.forgotten, k.person == f.person
        )
        gone = select(f.person, null(), f.at_us).where(
            f.person.in_(some), ~select(k.person).where(k.person == f.person).exists()
        )
        for person, key, at_us in db.execute(keys.where(k.person.in_(some)).union_all(gone)):
            found[person] = Held(key, at_us) if at_us is not None else Held(key)
    return found


def refuse_other_master(engine: Engine, sealer: Sealer) -> None:
    """Raise SealError where this database was first used with another master key."""
    number = int(sealer.key_id, 16)
    c = t.counters.c
    with engine.begin() as db:
        insert_new(db, t.counters, [{"name": MASTER, "value": number}])
        found = db.execute(select(c.value).where(c.name == MASTER)).scalar_one()
    if found != number:
        raise SealError(
            f"what this database holds is sealed with the key {found:08x}, and the seal key here is {sealer.key_id}: "
            "name the file of the other one (WEIR_SEAL_KEY_FILE), the same on every machine"
        )
