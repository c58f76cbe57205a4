"""Each check of `weir doctor`, on facts made up for it: what it says, whether that is wrong, and the mend."""

import msgspec
import pytest
from msgspec.structs import replace

from features.profile import SHIPPED
from features.profile import load as load_profile
from features.redis_kept import FILLING, LIVE, OLD, Kept
from features.redis_server import RedisFacts
from features.topic_settings import TopicSettings
from stream import cli, doctor
from stream.doctor import Reader, State
from stream.topics import wanted
from tests.acceptance.harness import log_of
from tests.unit.stream.registry import FakeRegistry, record

PROFILE = load_profile("payments")
WANT = wanted(TopicSettings())
FOUND = {topic.name: topic for topic in WANT}
REDIS = RedisFacts("7.2.0", "noeviction", True, 10, 0, "master", 0.0)
READER = Reader("weir-score", "Stable", ("here",), {("transactions", 0): 0, ("transactions", 1): 0})


def states(findings):
    return [finding.state for finding in findings]


def test_topics_as_the_profile_wants_them_are_well():
    assert states(doctor.check_topics(WANT, FOUND)) == [State.OK]
    assert doctor.check_equal_partitions(FOUND, "") == []


def test_missing_topics_are_wrong_and_other_settings_worth_a_note():
    found = {**FOUND, "labels": replace(FOUND["labels"], settings={"retention.ms": "1"})}
    del found["alerts"], found["models"]
    missing, *others = doctor.check_topics(WANT, found)
    assert (missing.state, missing.found, missing.mend) == (
        State.WRONG,
        "missing: alerts, models",
        "weir topics create",
    )
    assert set(states(others)) == {State.NOTE}
    assert {each.mend for each in others} == {"weir topics create --apply"}


def test_keyed_topics_with_unequal_partitions_are_wrong():
    found = {"acme." + name: topic for name, topic in FOUND.items()}
    found["acme.labels"] = replace(found["acme.labels"], partitions=9)
    (finding,) = doctor.check_equal_partitions(found, "acme.")
    assert (finding.state, finding.mend) == (State.WRONG, "weir topics grow 9")


def test_partitions_that_moved_are_wrong():
    assert states(doctor.check_moved({"labels": 4}, FOUND)) == [State.OK]
    assert states(doctor.check_moved({"labels": 3}, FOUND)) == [State.WRONG]
    assert doctor.check_moved({}, FOUND) == []


def test_a_retention_shorter_than_the_longest_window_is_wrong():
    assert doctor.check_retention(PROFILE, {"transactions": 30 * doctor.DAY_MS, "labels": None}) == []
    (finding,) = doctor.check_retention(PROFILE, {"transactions": 29 * doctor.DAY_MS})
    assert finding.state is State.WRONG
    assert "transactions keeps 29 days, the features look back 30" in finding.found


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, State.OK, "1 member (Stable), 0 records wait"),
        ({"members": (), "state": "Empty"}, State.NOTE, "0 members"),
        ({"members": (), "waiting": {("labels", 0): 5}}, State.WRONG, "5 records wait"),
        ({"state": "PreparingRebalance"}, State.NOTE, "partitions are being handed out"),
        ({"expired": 7}, State.WRONG, "7 were deleted by retention before it read them"),
    ],
)
def test_a_reader_that_is_absent_while_records_wait_or_that_lost_some_is_wrong(changes, state, said):
    finding = doctor.check_reader(replace(READER, **changes))
    assert finding.state is state
    assert said in finding.found


def test_dead_letters_are_told_with_the_newest_reasons():
    assert doctor.check_dead_letters(0, []).state is State.OK
    finding = doctor.check_dead_letters(2_000, ["a/0@1 no amount", "a/0@0 no id"])
    assert finding.found == "2,000, the newest: a/0@1 no amount; a/0@0 no id"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": "allkeys-lru"}, "it drops keys when it is full"),
        ({"append_only": False}, "no append-only file"),
        ({"role": "slave"}, "it is a replica"),
        ({"used": 95, "limit": 100}, "95 % of its memory"),
        ({"version": "6.2.1"}, "version 6.2.1"),
    ],
)
def test_a_redis_that_may_lose_state_or_stop_the_stream_is_wrong(changes, said):
    assert states(doctor.check_redis(REDIS)) == [State.OK]
    (finding,) = doctor.check_redis(replace(REDIS, **changes))
    assert finding.state is State.WRONG
    assert said in finding.found


def test_old_generations_that_take_memory_are_worth_a_note():
    live = Kept("5:a", LIVE, 9, 10**9, 0, None)
    old, small = Kept("5:b", OLD, 9, 12_345_678, 99, 1), Kept("5:c", OLD, 9, 999, None, None)
    filling = Kept("5:d", FILLING, 9, 10**9, 0, None)
    [found] = doctor.check_generations([live, old, small, filling])
    assert (found.state, found.found) == (
        State.NOTE,
        "the old generation 5:b takes about 12 MB of Redis",
    )
    assert "weir features generations drop 5:b" in found.mend


def test_rates_that_are_missing_are_wrong_and_refused_ones_worth_a_note():
    [none] = doctor.check_rates("EUR", {}, 0)
    assert (none.state, none.found) == (State.WRONG, "there are none to EUR: nothing can be converted")
    assert "weir send --rates" in none.mend
    fine, refused = doctor.check_rates("EUR", {"USD": "2026-01-02T14:15:00+00:00", "GBP": "2026-01-01"}, 2)
    assert (fine.state, refused.state) == (State.OK, State.NOTE)
    assert fine.found == "to EUR, the newest: GBP of 2026-01-01, USD of 2026-01-02T14:15:00+00:00"


@pytest.mark.parametrize(
    ("theirs", "state"), [(99, State.OK), (104.9, State.OK), (94, State.WRONG), (107, State.WRONG)]
)
def test_a_clock_that_is_off_by_more_than_seconds_is_wrong(theirs, state):
    assert doctor.check_clock("Redis", theirs, 100.0, 101.0).state is state


def test_keys_that_others_may_read_are_wrong_and_secrets_that_all_may_read_worth_a_note():
    assert states(doctor.check_modes({"seal.key": 0o100600}, {"pw": 0o100640})) == [State.OK]
    key, secret = doctor.check_modes({"seal.key": 0o100640}, {"pw": 0o100644})
    assert (key.state, key.mend) == (State.WRONG, "chmod 600 seal.key")
    assert secret.state is State.NOTE


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("kafka://a:9092,b:9092", True),
        ("kafka://localhost:9092", False),
        ("redis://:x@cache:6379/0", True),
        ("rediss://cache:6380", False),
        ("unix:///tmp/x.sock", False),
        ("postgresql+psycopg://weir@db/weir", True),
        ("postgresql://weir@db/weir?sslmode=verify-full", False),
        ("sqlite:////tmp/weir.db", False),
        ("embedded:///tmp/log", False),
    ],
)
def test_what_travels_in_the_clear_between_machines_is_worth_a_note(url, clear):
    assert states(doctor.check_encryption({"it": url}, kafka_tls=False)) == [State.NOTE] * clear
    assert doctor.check_encryption({"it": "kafka://a:9092"}, kafka_tls=True) == []


def test_a_registry_that_is_needed_is_asked_for_the_schema_of_the_events(tmp_path, capsys, monkeypatch):
    profile = tmp_path / "avro.toml"
    profile.write_text(
        (SHIPPED / "payments.toml").read_text().replace("[source]", '[source]\nformat = "avro"')
    )
    flags = ["--dir", str(tmp_path), "--profile", str(profile)]
    monkeypatch.setenv("no_proxy", "*")

    def found():
        told = run(capsys, *flags)[1]
        return next(
            (each["state"], each["found"]) for each in told["findings"] if "registry" in each["check"]
        )

    assert found() == ("wrong", "the profile's format is avro, and no registry is named")
    fake = FakeRegistry()
    monkeypatch.setenv("WEIR_SCHEMA_REGISTRY", fake.url)
    assert found() == ("note", "it knows no subject transactions-value")
    fake.register(record(("id", "string")), "transactions-value")
    assert found() == ("ok", "transactions-value is at schema 1")
    fake.close()


def test_a_profile_that_keeps_everybody_in_the_clear_is_worth_a_note():
    assert states(doctor.check_profile(PROFILE)) == [State.OK]
    assert "kept in the clear" in doctor.check_profile(replace(PROFILE, personal=()))[0].found


def run(capsys, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--json", *arguments])
    said = capsys.readouterr()
    assert said.err == ""
    return ended.value.code, msgspec.json.decode(said.out), said.out


def test_nothing_is_wrong_with_a_directory_that_is_still_empty_and_nothing_is_made(tmp_path, capsys):
    status, told, _ = run(capsys, "--dir", str(tmp_path / "new"))
    assert (status, told["well"]) == (0, True)
    assert not (tmp_path / "new").exists()


def test_records_that_wait_for_nobody_on_the_embedded_log_are_wrong(tmp_path, capsys):
    from stream.records import Outgoing

    log = log_of(tmp_path)
    log.append("transactions", [Outgoing(None, b"{}")] * 3)
    log.close()
    status, told, _ = run(capsys, "--dir", str(tmp_path))
    assert status == 1
    (score,) = [each for each in told["readers"] if each["group"] == "weir-score"]
    assert {"topic": "transactions", "partition": 0, "records": 3} in score["waiting"]
    (wrong,) = [each for each in told["findings"] if each["state"] == "wrong"]
    assert (wrong["check"], wrong["mend"][:14]) == ("weir-score", "start a worker")


def test_what_cannot_be_asked_is_wrong_and_no_password_is_shown(tmp_path, capsys, monkeypatch):
    secret = tmp_path / "password"
    secret.write_text("hush-hush-9\n")
    secret.chmod(0o600)
    monkeypatch.setenv("WEIR_BROKER", "kafka://127.0.0.1:1")
    monkeypatch.setenv("WEIR_KAFKA_USER", "weir")
    monkeypatch.setenv("WEIR_KAFKA_PASSWORD", "hush-hush-1")
    monkeypatch.setenv("WEIR_REDIS", "rediss://weir:hush-hush-2@127.0.0.1:1")
    monkeypatch.setenv("WEIR_DATABASE", "postgresql://weir@127.0.0.1:1/weir?sslmode=require")
    monkeypatch.setenv("WEIR_DATABASE_PASSWORD_FILE", str(secret))
    monkeypatch.setattr("stream.kafka.CONNECT_MS", 300)
    monkeypatch.setattr("stream.kafka_admin.CONNECT_MS", 300)
    status, told, said = run(capsys, "--dir", str(tmp_path))
    assert status == 1
    assert {each["check"] for each in told["findings"] if each["state"] == "wrong"} == {
        "database",
        "redis",
        "log",
    }
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--dir", str(tmp_path)])
    assert "hush-hush" not in said + "".join(capsys.readouterr())
