"""Secrets come from the environment or a file, and are shown nowhere."""

import copy
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import cli
from stream.config import ConfigError, load
from stream.secret import ScrubbingFormatter, Secret, masked, passwords_in, print_scrubbed, scrubbed
from stream.security import KafkaSecurity

NOWHERE = Path("/nonexistent/weir.toml")
PASSWORD = "s3cr3t/with@signs"
KAFKA = {"WEIR_BROKER": "kafka://host:9092", "WEIR_KAFKA_USER": "weir"}


def test_a_secret_prints_as_stars_and_is_written_nowhere():
    secret = Secret(PASSWORD)
    assert f"{secret} {secret!r} {[secret]} {KafkaSecurity(password=secret)}".count("s3cr3t") == 0
    assert secret.reveal() == PASSWORD
    assert secret == Secret(PASSWORD) != Secret("other")
    with pytest.raises(TypeError, match="not written anywhere"):
        copy.copy(secret)


def test_a_known_secret_is_taken_out_of_every_text_plain_or_quoted():
    Secret(PASSWORD)
    assert scrubbed(f"login {PASSWORD} failed at redis://u:s3cr3t%2Fwith%40signs@h") == (
        "login *** failed at redis://u:***@h"
    )


def test_a_password_that_is_a_common_word_does_not_blot_it_out_everywhere():
    Secret("weir")
    assert scrubbed("weir-score waits") == "weir-score waits"


def test_log_lines_and_tracebacks_lose_secrets_too(capsys):
    Secret(PASSWORD)
    record = logging.LogRecord("kafka", logging.DEBUG, "f", 1, "config: %s", ({"p": PASSWORD},), None)
    assert ScrubbingFormatter("%(message)s").format(record) == "config: {'p': '***'}"
    try:
        raise ValueError(PASSWORD)
    except ValueError:
        print_scrubbed(*sys.exc_info())
    assert capsys.readouterr().err.endswith("ValueError: ***\n")


@given(
    user=st.text("abz", max_size=3),
    password=st.text(st.characters(codec="ascii", exclude_characters="?&#"), min_size=4),
)
def test_a_urls_password_is_masked_however_badly_it_is_written(user, password):
    if password in user:
        return
    shown = masked(f"redis://{user}:{password}@server:6379/0")
    assert shown == f"redis://{user}:***@server:6379/0"
    assert passwords_in(f"redis://{user}:{password}@server:6379/0") == [password]


def test_passwords_in_a_query_are_masked_too():
    url = "postgresql://db/weir?sslmode=require&password=hush1&sslpassword=hush2"
    assert masked(url) == "postgresql://db/weir?sslmode=require&password=***&sslpassword=***"
    assert passwords_in(url) == ["hush1", "hush2"]


@pytest.mark.parametrize(
    ("flag", "url", "mend"),
    [
        ("broker", "kafka://weir:secret@host:9092", "WEIR_KAFKA_PASSWORD_FILE"),
        ("redis", "rediss://:secret@host", "WEIR_REDIS_PASSWORD_FILE"),
        ("database", "postgresql://weir:secret@host/weir", "WEIR_DATABASE_PASSWORD_FILE"),
        ("database", "postgresql://host/weir?password=secret", "WEIR_DATABASE_PASSWORD_FILE"),
    ],
)
def test_a_password_on_the_command_line_is_refused_with_the_place_for_it(flag, url, mend):
    with pytest.raises(ConfigError, match=mend) as refused:
        load({flag: url}, {}, NOWHERE)
    assert "secret" not in str(refused.value)


def test_a_password_from_a_file_reaches_the_servers_url_and_is_shown_by_nothing(tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    environ = {
        "WEIR_DIR": str(tmp_path),
        "WEIR_DATABASE": "postgresql://weir@db/weir?sslmode=verify-full",
        "WEIR_DATABASE_PASSWORD_FILE": str(file),
        "WEIR_REDIS": "rediss://cache:6380",
        "WEIR_REDIS_PASSWORD_FILE": str(file),
    }
    config = load({}, environ, NOWHERE)
    assert config.database == "postgresql://weir:s3cr3t%2Fwith%40signs@db/weir?sslmode=verify-full"
    assert config.redis == "rediss://:s3cr3t%2Fwith%40signs@cache:6380"
    assert "s3cr3t" not in f"{config} {config!r} {config.shown()}"
    assert load({}, {**environ, **config.environment()}, NOWHERE) == config


def test_kafkas_password_is_in_no_setting_that_is_shown_or_handed_on(tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    environ = {**KAFKA, "WEIR_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "WEIR_KAFKA_PASSWORD_FILE": str(file)}
    config = load({"dir": str(tmp_path)}, environ, NOWHERE)
    assert config.kafka.client()["sasl_plain_password"] == PASSWORD
    assert "s3cr3t" not in f"{config!r} {config.shown()} {config.environment()}"
    assert load({}, config.environment(), NOWHERE) == config


def test_a_user_alone_means_tls_and_a_password_goes_in_the_clear_only_when_asked():
    assert load({}, {**KAFKA, "WEIR_KAFKA_PASSWORD": "x"}, NOWHERE).kafka.protocol == "SASL_SSL"
    clear = {**KAFKA, "WEIR_KAFKA_PASSWORD": "x", "WEIR_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    assert load({}, clear, NOWHERE).kafka.protocol == "SASL_PLAINTEXT"
    assert load({}, {"WEIR_BROKER": "kafka://host:9092"}, NOWHERE).kafka.protocol == "PLAINTEXT"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "SASL_SSL needs WEIR_KAFKA_USER, and WEIR_KAFKA_PASSWORD"),
        ({"WEIR_KAFKA_PASSWORD": "x", "WEIR_KAFKA_SECURITY_PROTOCOL": "TLS"}, "known are PLAINTEXT, SSL"),
        ({"WEIR_KAFKA_PASSWORD": "x", "WEIR_KAFKA_SASL_MECHANISM": "MD5"}, "known are PLAIN, SCRAM"),
        ({"WEIR_KAFKA_PASSWORD": "x", "WEIR_KAFKA_SECURITY_PROTOCOL": "SSL"}, "SSL logs nobody in"),
        (
            {"WEIR_KAFKA_PASSWORD": "x", "WEIR_KAFKA_CA_FILE": "/nowhere"},
            "no certificate or key file /nowhere",
        ),
        (
            {"WEIR_KAFKA_PASSWORD_FILE": "/nowhere"},
            "WEIR_KAFKA_PASSWORD_FILE names /nowhere, which cannot be read",
        ),
        ({"WEIR_KAFKA_PASSWORD_FILE": "/dev/null"}, "which is empty"),
        ({"WEIR_KAFKA_PASSWORD": "x", "WEIR_KAFKA_PASSWORD_FILE": "/dev/null"}, "both set"),
        ({"WEIR_KAFKA_PASSWORD": "x", "WEIR_REDIS_PASSWORD": "y"}, "WEIR_REDIS names no server"),
    ],
)
def test_settings_that_do_not_go_together_are_told(more, said):
    with pytest.raises(ConfigError, match=said):
        load({}, {**KAFKA, **more}, NOWHERE)


def test_a_password_in_weir_toml_is_sent_to_a_file_of_its_own(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_text('kafka_password = "hush"\n')
    with pytest.raises(ConfigError, match="kafka_password_file") as refused:
        load({}, {}, file)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["models", "list", "--database", "postgresql://me:s3cr3t-here@127.0.0.1:1/weir"],
        ["models", "list", "--database", "postgresql://127.0.0.1:1/weir?password=s3cr3t-here"],
        ["worker", "--role", "score", "--broker", "kafka://me:s3cr3t-here@127.0.0.1:1"],
    ],
)
def test_no_error_of_the_command_line_shows_a_password(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--dir", str(tmp_path)])
    assert ended.value.code == 1
    assert "s3cr3t" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cr3t-here@127.0.0.1:1/weir",
        "postgresql://me:s3cr3t-here@127.0.0.1:no-port/weir",
        "postgresql:/me:s3cr3t-here@127.0.0.1",
        "oracle://me:s3cr3t-here@127.0.0.1/weir",
    ],
)
def test_no_error_of_the_database_shows_its_password(url, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WEIR_DATABASE", url)
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", "list", "--dir", str(tmp_path)])
    assert ended.value.code == 1
    assert "s3cr3t" not in "".join(capsys.readouterr())
