"""A Redis and a PostgreSQL that ask for TLS and a password, and a Redis user that may do only what Weir does."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis

from features.profile import load as load_profile
from features.redis_store import RedisFeatureStore
from features.store import StoreUnavailable
from stream.config import load
from stream.review.database import LedgerError
from stream.review.ledger import Ledger
from tests.contract.valkey import free_port
from tests.integration.certificates import Authority
from tests.wanted import missing

NOWHERE = Path("/nonexistent/weir.toml")
PASSWORD = "store/pass word@5"
PROFILE = load_profile("payments")
RIGHTS = "+@read +@write +@scripting +@connection +info"


def answers(port, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory, authority):
    """A Redis with nothing but TLS, a user for Weir and one that may only read."""
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        missing("redis-server", "no redis-server or valkey-server on the PATH: our own is built without TLS")
    cert, key = authority.certificate("redis")
    port, directory = free_port(), tmp_path_factory.mktemp("redis")
    settings = {
        "port": 0,
        "tls-port": port,
        "tls-cert-file": cert,
        "tls-key-file": key,
        "tls-ca-cert-file": authority.ca,
    }
    settings |= {"tls-auth-clients": "no", "dir": directory, "save": '""'}
    acl = f'user default off\nuser weir on ">{PASSWORD}" ~*weir:* {RIGHTS}\nuser reader on ">{PASSWORD}" ~* +@read +@connection\n'
    file = directory / "redis.conf"
    file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()) + acl)
    process = subprocess.Popen([server, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    if not answers(port, process):
        process.kill()
        process.wait()
        missing("redis-server", f"{server} does not start with TLS")
    yield port
    process.terminate()
    process.wait()


def redis_url(port, authority, user, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    environ = {
        "WEIR_REDIS": f"rediss://{user}@localhost:{port}/0?ssl_ca_certs={authority.ca}",
        "WEIR_REDIS_PASSWORD_FILE": str(file),
    }
    return load({}, environ, NOWHERE).redis


def event(number=1):
    return PROFILE.transaction(
        {
            "id": f"p{number}",
            "at": "2026-01-01T12:00:00Z",
            "card": "c",
            "merchant": "m",
            "device": "d",
            "amount": 5,
            "currency": "EUR",
        }
    )


def store(url, prefix="weir:"):
    return RedisFeatureStore(url, PROFILE.features, prefix=prefix, hash_key=b"k")


def test_features_live_in_a_redis_with_tls_and_a_user_that_may_do_only_what_weir_does(
    redis_port, authority, tmp_path
):
    url = redis_url(redis_port, authority, "weir", tmp_path)
    for prefix in ("weir:", "acme.weir:"):
        opened = store(url, prefix)
        assert [each.status for each in opened.apply([event(), event()])] == ["fresh", "duplicate"]
        opened.close()


def test_a_redis_user_that_may_not_write_is_told_what_it_needs(redis_port, authority, tmp_path):
    with pytest.raises(StoreUnavailable, match=r"does not allow its user.*\+@write") as refused:
        store(redis_url(redis_port, authority, "reader", tmp_path))
    assert PASSWORD not in str(refused.value)


def test_a_wrong_redis_password_is_told_at_once_and_not_shown(redis_port):
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"refused the login.*WEIR_REDIS_PASSWORD_FILE") as refused:
        store(f"rediss://weir:wrong-one@localhost:{redis_port}?ssl_cert_reqs=none")
    assert time.monotonic() - began < 3
    assert "wrong-one" not in str(refused.value)


def test_a_redis_of_an_unknown_authority_is_not_believed(redis_port):
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        store(f"rediss://weir:x@localhost:{redis_port}")


@pytest.fixture(scope="module")
def postgres_port(authority):
    """A PostgreSQL of our own that takes nothing but TLS with SCRAM."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        missing("postgres-binaries", "no initdb in /usr/lib/postgresql")
    directory = Path(
        tempfile.mkdtemp(prefix="weir-postgres-")
    )  # pytest's own are closed to the user postgres
    port = free_port()
    cert, key = authority.certificate("postgres")
    secret, data = directory / "pw", directory / "data"
    secret.write_text(PASSWORD)
    for file in (cert, key):
        shutil.copy(file, directory / file.name)
    run = _as_postgres(directory)
    bins = found[-1].parent
    made = run([bins / "initdb", "-D", data, "-U", "weir", "--pwfile", secret, "-A", "scram-sha-256", "-N"])
    assert made.wait() == 0
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    settings = {"ssl": "on", "ssl_cert_file": directory / cert.name, "ssl_key_file": directory / key.name}
    settings |= {
        "port": port,
        "unix_socket_directories": directory,
        "fsync": "off",
        "listen_addresses": "127.0.0.1",
    }
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    server = run([bins / "postgres", "-D", data])
    assert ready(data, server)
    yield port
    server.terminate()
    server.wait()
    shutil.rmtree(directory)


def ready(data, process):
    """Whether the server says so; it takes connections, and refuses them, before."""
    told = data / "postmaster.pid"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if told.exists() and told.read_text().rstrip().endswith("ready"):
            return True
        time.sleep(0.05)
    return False


def _as_postgres(directory):
    if os.geteuid() != 0:
        return lambda command: subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.chown(directory, "postgres")
    for file in directory.iterdir():
        shutil.chown(file, "postgres")
    user = pwd.getpwnam("postgres")
    return lambda command: subprocess.Popen(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def database(port, authority, mode="verify-full", **environ):
    url = f"postgresql://weir@127.0.0.1:{port}/postgres?sslmode={mode}&sslrootcert={authority.ca}"
    return load({}, {"WEIR_DATABASE": url, **environ}, NOWHERE).database


def test_the_ledger_lives_in_a_postgresql_with_tls_and_a_password(postgres_port, authority, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    ledger = Ledger.open(database(postgres_port, authority, WEIR_DATABASE_PASSWORD_FILE=str(file)))
    with ledger.engine.connect() as db:
        assert db.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar_one()
    ledger.close()


@pytest.mark.parametrize(
    ("mode", "password", "said"),
    [
        ("verify-full", "wrong-one", "password authentication failed"),
        ("disable", PASSWORD, "no pg_hba.conf entry"),
    ],
)
def test_what_postgresql_refuses_is_told_without_the_password(postgres_port, authority, mode, password, said):
    with pytest.raises(LedgerError, match=said) as refused:
        Ledger.open(database(postgres_port, authority, mode, WEIR_DATABASE_PASSWORD=password))
    assert password not in str(refused.value)


def test_without_the_authority_postgresql_is_not_believed(postgres_port, tmp_path):
    other = Authority(tmp_path / "other")
    with pytest.raises(LedgerError, match=r"(?i)certificate|SSL error"):
        Ledger.open(database(postgres_port, other, WEIR_DATABASE_PASSWORD=PASSWORD))


def test_the_default_user_is_off(redis_port):
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(f"rediss://localhost:{redis_port}?ssl_cert_reqs=none").ping()
