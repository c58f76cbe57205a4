"""The restore drill: run, back up, run on, lose SQL and Redis, restore yesterday's; all is as if nothing had happened."""

import json
import shutil
import subprocess
import sys

import pytest

from stream import bootstrap
from stream.agents import CRASHED
from stream.decisions import DECISIONS
from stream.records import TP, Outgoing
from tests.acceptance.drill import EVENTS, Drill, in_three
from tests.acceptance.harness import env

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts(payments, profile):
    return in_three(payments, profile)


@pytest.fixture
def drill(home, profile, model):
    made = Drill(home, profile, model)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, parts, profile, model):
    """What a Weir knows in the end that lost nothing: its directory, what it knows, and its features."""
    made = Drill(tmp_path_factory.mktemp("undisturbed") / "weir", profile, model)
    made.start()
    try:
        made.feed(parts[0])
        made.feed(parts[1])
        made.give("fraud")
        made.feed(parts[2])
    finally:
        made.stop()
    return made.home, made.known(), made.state()


def refused(drill, *arguments):
    """What a command says that does not do what was asked."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", *map(str, arguments)],
        env=env(drill.home, **drill.environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_yesterdays_sql_and_redis_catch_up_from_the_log(drill, parts, undisturbed):
    before, expected, features = undisturbed
    shutil.copytree(before / "keys", drill.home / "keys")  # so that the pseudonyms are the same
    drill.start()
    drill.feed(parts[0])
    backup = drill.home.parent / "backup"
    said = drill.run("backup", backup)
    assert "sql" in said
    assert "the keys are not in it" in said
    assert not (backup / "keys").exists()
    drill.feed(parts[1])
    drill.give("fraud")
    assert "has its member already" in refused(drill, "restore", backup, "--part", "sql")
    drill.stop()

    for file in drill.home.glob("weir.db*"):
        file.unlink()
    shutil.rmtree(drill.home / "redis")
    assert "there is something already in: log" in refused(drill, "restore", backup)
    behind = json.loads(drill.run("restore", backup, "--part", "sql", "--part", "redis", "--json"))
    assert {each["role"] for each in behind if each["records"]} == {"score", "record", "learn"}
    drill.start()
    drill.feed(parts[2])
    drill.stop()

    made = drill.known()
    for what, value in expected.items():
        assert made[what] == value, what
    assert drill.state() == features
    assert len(made["decisions"]) == EVENTS


def test_all_of_it_on_another_machine(drill, parts, undisturbed, profile, model):
    before, expected, features = undisturbed
    source = Drill(before, profile, model)
    backup = drill.home.parent / "whole"
    assert "it holds the secret keys" in source.run("backup", backup, "--keys")
    assert all(path.stat().st_mode & 0o077 == 0 for path in (backup, *backup.rglob("*")))
    behind = json.loads(drill.run("restore", backup, "--json"))
    assert {each["role"] for each in behind if each["records"]} <= {"learn"}  # it keeps early labels unread
    assert drill.known() == expected
    assert drill.state() == features


def test_what_the_log_has_let_go_is_told_before_anything_is_written_and_by_the_workers(
    drill, undisturbed, profile, model
):
    before, _, _ = undisturbed
    backup = drill.home.parent / "whole"
    Drill(before, profile, model).run("backup", backup, "--keys")
    drill.run("restore", backup)
    decide_one_more_and_let_it_go(drill)
    said = refused(drill, "restore", backup, "--replace", "--part", "sql")
    assert "decisions/0: the backup has it up to " in said
    assert "it has let go what the role " in said
    for role in ("learn", "record"):
        (worker,) = drill.start(role)
        assert worker.wait(300) == CRASHED
        told = (drill.home / f"worker---role-{role}.out").read_text()
        assert "decisions[0]: the database has lost what it held from offset" in told
    drill.environment["WEIR_ACCEPT_GAP"] = "1"
    assert "is in place" in drill.run("restore", backup, "--replace", "--part", "sql")


def decide_one_more_and_let_it_go(drill):
    """As if the readers had come further before the database was lost, and retention had gone on."""
    log, place = drill.log(), TP(DECISIONS, 0)
    log.append(DECISIONS, [Outgoing(b"k", b"{}")])
    for role in ("learn", "record"):
        log.commit(bootstrap.group_of(drill.config, role), {place: log.end_offsets(DECISIONS)[0]})
    with log._transaction() as db:
        db.execute("UPDATE topics SET retention_ms = 0 WHERE name = ?", (DECISIONS,))
    assert log.retain()
    log.close()
