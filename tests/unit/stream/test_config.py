"""Flags come before the environment, the environment before weir.toml; what cannot be used is refused."""

from pathlib import Path

import pytest

from features.profile import load as load_profile
from stream import bootstrap
from stream.config import ConfigError, load, masked
from stream.sealing import KEY_FILE, Sealer

NOWHERE = Path("/nonexistent/weir.toml")


def test_without_anything_all_state_is_embedded_under_one_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load({}, {}, NOWHERE)
    assert config.dir == tmp_path / ".weir"
    assert config.broker == f"embedded://{tmp_path}/.weir/log"
    assert config.redis is None
    assert config.database == f"sqlite:///{tmp_path}/.weir/weir.db"


def test_a_flag_beats_the_environment_and_the_environment_beats_the_file(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text('profile = "file"\ntopic_prefix = "file."\nredis = "redis://file"\n')
    environ = {"WEIR_PROFILE": "environment", "WEIR_TOPIC_PREFIX": "environment."}
    config = load({"profile": "flag", "redis": None}, environ, file)
    assert (config.profile, config.topic_prefix, config.redis) == ("flag", "environment.", "redis://file")


def test_a_child_process_gets_the_same_settings_through_its_environment(tmp_path):
    config = load({"dir": str(tmp_path), "redis": "unix:///x.sock"}, {}, NOWHERE)
    assert load({}, config.environment(), NOWHERE) == config


@pytest.mark.parametrize(("said", "meant"), [("1", True), ("True", True), ("0", False), ("no", False)])
def test_a_gap_is_accepted_where_somebody_says_so(said, meant):
    config = load({}, {"WEIR_ACCEPT_GAP": said}, NOWHERE)
    assert config.accept_gap is meant
    assert load({}, config.environment(), NOWHERE).accept_gap is meant


def test_an_unknown_setting_in_the_file_is_named_with_the_known_ones(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text('brokers = "kafka://x"\n')
    with pytest.raises(ConfigError, match=r"brokers; known are dir, broker"):
        load({}, {}, file)


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text("profile = payments\n")
    with pytest.raises(ConfigError, match=r"weir.toml is not TOML"):
        load({}, {}, file)


def test_a_broker_that_weir_does_not_speak_is_refused_without_showing_its_password():
    with pytest.raises(ConfigError, match="neither embedded") as refused:
        load({}, {"WEIR_BROKER": "amqp://me:secret@host"}, NOWHERE)
    assert "secret" not in str(refused.value)


def test_passwords_are_masked_wherever_settings_are_shown(tmp_path):
    config = load({"dir": str(tmp_path)}, {"WEIR_DATABASE": "postgresql://weir:secret@db/weir"}, NOWHERE)
    assert config.shown()["database"] == "postgresql://weir:***@db/weir"
    assert masked("sqlite:////tmp/x.db") == "sqlite:////tmp/x.db"


def test_the_seal_keys_file_may_be_named_elsewhere(tmp_path):
    config = load({}, {"WEIR_SEAL_KEY_FILE": "/run/secrets/seal.key"}, NOWHERE)
    assert config.seal_key_file == "/run/secrets/seal.key"
    assert load({}, config.environment(), NOWHERE).seal_key_file == "/run/secrets/seal.key"
    assert load({"seal_key_file": "/other"}, config.environment(), NOWHERE).seal_key_file == "/other"


def test_every_role_takes_the_master_key_from_there(tmp_path):
    Sealer.at(tmp_path / "first")
    file = tmp_path / "first" / KEY_FILE
    config = load({"dir": str(tmp_path / "second"), "seal_key_file": str(file)}, {}, NOWHERE)
    assert bootstrap.sealer(config).key_id == Sealer.of_file(file).key_id
    assert not (tmp_path / "second").exists()
    row = {"id": "1", "at": "2026-01-01T00:00:00Z", "amount": 1, "currency": "EUR"}
    row |= {"card": "c", "merchant": "m", "device": "d"}
    plain, keyed = load_profile("payments"), bootstrap.profile_of(config)
    assert keyed.transaction(row).body != plain.transaction(row).body


def test_snapshots_are_taken_as_often_as_is_said_and_never_unless_it_is():
    assert load({}, {}, NOWHERE).snapshot_every_us == 0
    config = load({}, {"WEIR_SNAPSHOT_EVERY": "15m", "WEIR_WAIT_RECORDS": "5000"}, NOWHERE)
    assert (config.snapshot_every_us, config.wait_records) == (900_000_000, 5_000)
    again = load({}, config.environment(), NOWHERE)
    assert (again.snapshot_every_us, again.wait_records) == (900_000_000, 5_000)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("WEIR_SNAPSHOT_EVERY", "often", "WEIR_SNAPSHOT_EVERY"),
        ("WEIR_WAIT_RECORDS", "-1", "WEIR_WAIT_RECORDS is '-1': a number of records"),
    ],
)
def test_what_is_no_duration_and_no_number_is_refused(name, text, said):
    with pytest.raises(ConfigError, match=said):
        load({}, {name: text}, NOWHERE)
