"""Our own Redis-compatible server: reachable by us alone, durable, and never left behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import redis

from stream.embedded.server import ALLOCATOR, ServerError, ValkeyServer, running


@pytest.fixture
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("v") / "redis"


@pytest.fixture
def make_server():
    """A maker of started servers; all end with the test."""
    servers = []

    def make(directory):
        servers.append(ValkeyServer(directory))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def client(server):
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_it_listens_on_a_private_socket_and_on_no_port(directory, make_server):
    server = make_server(directory)
    assert server.url == f"unix://{directory}/valkey.sock"
    assert (directory / "valkey.sock").stat().st_mode & 0o777 == 0o700
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [
        each for each in psutil.Process(server.pid).net_connections("inet") if each.status == "LISTEN"
    ] == []


@pytest.mark.parametrize("own", ["", "glibc.malloc.tcache_count=9"])
def test_it_is_told_how_to_allocate_unless_the_user_says_how(directory, make_server, monkeypatch, own):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    told = psutil.Process(make_server(directory).pid).environ()["GLIBC_TUNABLES"]
    wanted = own or ALLOCATOR["GLIBC_TUNABLES"]
    assert told in (wanted, wanted.partition(":")[0])  # glibc cuts it up in place where it has read it


def test_it_evicts_nothing_and_writes_every_change_down(directory, make_server):
    found = client(make_server(directory)).config_get("*")
    assert (found["maxmemory-policy"], found["appendonly"], found["appendfsync"], found["save"]) == (
        "noeviction",
        "yes",
        "everysec",
        "",
    )


def test_what_it_acknowledged_survives_a_kill(directory, make_server):
    server = make_server(directory)
    client(server).set("k", "v")
    os.kill(server.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(server.pid)], timeout=10)
    server.stop()
    assert client(make_server(directory)).get("k") == "v"


def test_one_that_was_killed_is_started_again_with_what_it_had(directory, make_server):
    server = make_server(directory)
    client(server).set("k", "v")
    assert server.check() is None
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (said := server.check()) is None:
        assert time.monotonic() < deadline, "nobody saw that it died"
        time.sleep(0.02)
    assert "ended with status -9; it is started again" in said
    assert client(server).get("k") == "v"
    server.stop()
    assert server.check() is None


def test_a_write_that_a_power_cut_left_half_done_does_not_keep_it_from_starting(directory, make_server):
    server = make_server(directory)
    client(server).set("k", "v")
    server.stop()
    (aof,) = (directory / "appendonlydir").glob("*.incr.aof")
    with aof.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk")
    assert client(make_server(directory)).get("k") == "v"


def test_a_second_one_in_the_same_directory_is_refused_and_told_the_first(directory, make_server):
    server = make_server(directory)
    with pytest.raises(ServerError, match=rf"process {server.pid}\) answers on .* already"):
        ValkeyServer(directory).start()
    assert client(server).ping()


def test_it_is_found_while_it_runs_and_not_after(directory, make_server):
    assert running(directory) is None
    server = make_server(directory)
    assert running(directory) == server.url
    server.stop()
    assert running(directory) is None
    assert server.pid is None


def test_a_long_path_gets_a_short_socket_and_keeps_it(tmp_path, make_server):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    server = make_server(deep)
    assert len(server.url) < 100
    assert client(server).ping()
    assert ValkeyServer(deep).url == server.url == running(deep)


def test_it_dies_with_its_parent_however_that_dies(directory):
    code = "import sys, time; from pathlib import Path; from stream.embedded.server import ValkeyServer\n"
    code += "server = ValkeyServer(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True)
    server = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.02)


def test_one_that_cannot_start_says_where_its_log_is(directory):
    directory.mkdir()
    (directory / "appendonlydir").write_text("a file where a directory should be")
    with pytest.raises(ServerError, match=r"ended at its start; its log: .*valkey\.log"):
        ValkeyServer(directory).start()
