"""People's keys in SQL: one for each, made once, gone when they are forgotten, on every database."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from stream import bootstrap
from stream.config import load
from stream.envelope import fresh_key
from stream.keyring import Held, Keyring, Newcomer
from stream.review import patience, tables
from stream.review import people as people_module
from stream.review.people import People
from stream.sealing import KEY_FILE, Sealer, SealError
from tests.contract.ledger_records import SEALER
from tests.contract.test_ledger import database, ledger, make_database  # noqa: F401 - fixtures

NOWHERE = Path("/nonexistent/weir.toml")
ADA, BOB = SEALER.pseudonym("customer", "Ada"), SEALER.pseudonym("customer", "Bob")


def newcomer(person, arrived_us=5):
    return Newcomer(person, SEALER.wrap(person, fresh_key(person).key), arrived_us)


@pytest.fixture
def people(ledger):  # noqa: F811
    return People(ledger.engine, SEALER)


def test_a_key_that_was_made_is_found_and_never_made_again(people):
    first, second = newcomer(ADA), newcomer(ADA)
    assert people.make([first, newcomer(BOB)])[ADA] == Held(first.key)
    assert people.make([second])[ADA] == Held(first.key)
    assert people.find([ADA]) == {ADA: Held(first.key)}
    assert people.find(["nobody"]) == {}


def test_a_forgotten_persons_key_is_gone_and_only_what_comes_later_makes_another(people):
    first = people.make([newcomer(ADA)])[ADA]
    assert people.forget(ADA, at_us=7) is True
    assert people.find([ADA, BOB]) == {ADA: Held(None, 7)}
    assert people.make([newcomer(ADA, arrived_us=7)]) == {ADA: Held(None, 7)}
    again = people.make([newcomer(ADA, arrived_us=8)])[ADA]
    assert again.forgotten_us == 7
    assert again.key not in (None, first.key)


def test_forgetting_again_changes_nothing_and_never_goes_back(people):
    assert people.forget(ADA, at_us=7) is False
    assert people.forget(ADA, at_us=3) is False
    assert people.find([ADA]) == {ADA: Held(None, 7)}


def test_who_was_forgotten_is_told_once_in_order_and_again_when_it_happens_again(people):
    assert people.forgotten(0) == (0, [])
    people.forget(ADA, 1)
    people.forget(BOB, 1)
    newest, told = people.forgotten(0)
    assert told == [ADA, BOB]
    assert people.forgotten(newest) == (newest, [])
    people.forget(BOB, 2)
    assert people.forgotten(newest) == (newest + 1, [BOB])


def test_a_crowd_is_asked_for_in_a_few_statements(people, ledger):  # noqa: F811
    crowd = [SEALER.pseudonym("customer", f"c{number}") for number in range(1_000)]
    said = []
    event.listen(ledger.engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    made = people.make([newcomer(person) for person in crowd])
    assert len([each for each in said if each.startswith("INSERT")]) <= 2
    said.clear()
    assert people.find(crowd) == made
    assert len([each for each in said if "SELECT" in each]) == 2


def test_many_workers_that_meet_the_same_people_at_once_agree_on_their_keys(ledger):  # noqa: F811
    crowd = [("customer", f"c{number}") for number in range(300)]

    def met(turn):
        order = crowd if turn % 2 else crowd[::-1]
        seals = Keyring(People(ledger.engine, SEALER), SEALER).seals(dict.fromkeys(order, 5))
        return {pair: seal.key for pair, seal in seals.items()}

    with ThreadPoolExecutor(6) as pool:
        first, *others = pool.map(met, range(12))
    assert None not in first.values()
    assert all(each == first for each in others)


def test_whoever_is_forgotten_while_workers_make_keys_has_none_of_what_came_before(ledger):  # noqa: F811
    people, stop = People(ledger.engine, SEALER), threading.Event()

    def worker():
        mine = People(ledger.engine, SEALER)
        while not stop.is_set():
            mine.make([newcomer(ADA, arrived_us=5)])

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            with ledger.engine.begin() as db:  # they were never forgotten
                db.execute(tables.forgotten.delete())
            people.forget(ADA, at_us=6)
            assert people.find([ADA]) == {ADA: Held(None, 6)}
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_whoever_is_forgotten_in_the_moment_in_which_a_key_is_made_has_none(people, ledger, monkeypatch):  # noqa: F811
    real, forgetting = people_module.insert_new, []

    def inserted(*args):
        real(*args)
        forgetting.append(threading.Thread(target=other.forget, args=(ADA, 6)))
        monkeypatch.setattr(people_module, "insert_new", real)
        forgetting[0].start()
        forgetting[0].join(0.3)  # it has to wait for the transaction that makes the key

    other = People(ledger.engine, SEALER)
    monkeypatch.setattr(people_module, "insert_new", inserted)
    people.make([newcomer(ADA, arrived_us=5)])
    forgetting[0].join()
    assert other.find([ADA]) == {ADA: Held(None, 6)}


def test_another_master_key_is_refused_before_it_makes_keys(people, ledger):  # noqa: F811
    other = Sealer(bytes(range(32)))
    with pytest.raises(SealError, match=f"sealed with the key {SEALER.key_id}.*WEIR_SEAL_KEY_FILE"):
        People(ledger.engine, other)
    assert People(ledger.engine, SEALER)


def test_a_recorder_on_another_machine_needs_the_same_key_file(database, tmp_path):  # noqa: F811
    first = load({"dir": str(tmp_path / "a"), "database": database}, {}, NOWHERE)
    bootstrap.recorder(first)[1]()
    second = {"dir": str(tmp_path / "b"), "database": database}
    with pytest.raises(SealError, match="WEIR_SEAL_KEY_FILE"):
        bootstrap.recorder(load(second, {}, NOWHERE))
    named = {"WEIR_SEAL_KEY_FILE": str(tmp_path / "a" / KEY_FILE)}
    bootstrap.recorder(load(second, named, NOWHERE))[1]()


def test_a_database_that_is_away_for_a_moment_is_asked_again(people, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_S", (0.0, 0.0))
    faults = [OperationalError("", {}, Exception("gone")), OperationalError("", {}, Exception("gone"))]
    real = people._found

    def failing(wanted):
        if faults:
            raise faults.pop()
        return real(wanted)

    monkeypatch.setattr(people, "_found", failing)
    assert people.find([ADA]) == {}
    faults += [OperationalError("", {}, Exception("gone"))] * 3
    with pytest.raises(OperationalError):
        people.find([ADA])


def test_the_key_of_a_forgotten_person_is_in_no_file_of_the_database(people, database):  # noqa: F811
    if not database.startswith("sqlite"):
        pytest.skip("PostgreSQL overwrites dead rows when it vacuums")
    off = event.listens_for(people._engine, "connect")  # as some builds of SQLite are by default
    off(lambda connection, _: connection.execute("PRAGMA secure_delete = OFF"))
    people._engine.dispose()
    wrapped = people.make([newcomer(ADA)])[ADA].key
    kept = people.make([newcomer(BOB)])[BOB].key
    folder = Path(database.removeprefix("sqlite:///")).parent

    def anywhere(key):
        return any(key in file.read_bytes() for file in folder.iterdir())

    assert anywhere(wrapped)
    people.forget(ADA, 7)
    assert not anywhere(wrapped)
    assert anywhere(kept)


def test_the_tables_hold_nobodys_name(people, ledger):  # noqa: F811
    Keyring(people, SEALER).seals({("customer", "Ada Lovelace"): 5})
    with ledger.engine.connect() as db:
        (row,) = db.execute(select(tables.person_keys)).all()
    assert row.person == SEALER.pseudonym("customer", "Ada Lovelace")
    assert len(row.key) == 1 + 4 + 12 + 32 + 16
