"""Alive, ready, and the numbers: what a process tells on its port."""

import socket
import threading
import time

import msgspec
import pytest

from stream import watching
from stream.config import ConfigError, load
from stream.probes import PortTaken, Probes, ProbeServer, addresses, fetched, reachable
from stream.watch import Reading, RoleWatch


def config(tmp_path, **flags):
    return load({"dir": str(tmp_path / "weir"), **flags}, {}, tmp_path / "no.toml")


def status_of(address, path):
    """The status and text of an answer."""
    from http.client import HTTPConnection

    connection = HTTPConnection(address.removeprefix("http://"), timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def watch():
    return RoleWatch("score")


@pytest.fixture
def address(watch):
    server = ProbeServer(Probes(watch), lambda: watching.exposition(Probes(watch)), "text/plain")
    yield server.listen("127.0.0.1", 0)
    server.stop()


def test_a_worker_is_alive_before_it_is_ready(watch, address):
    assert status_of(address, "/healthz")[0] == 200
    assert status_of(address, "/readyz") == (503, "it is starting: no partitions are assigned to it yet\n")
    watch.assigned = True
    assert status_of(address, "/readyz") == (200, "ready\n")
    assert status_of(address, "/etc/passwd")[0] == 404


def test_a_worker_that_ends_is_not_ready(watch, address):
    watch.assigned = True
    watch.ending = lambda: True
    assert status_of(address, "/readyz") == (503, "it is ending\n")


def test_a_server_that_is_gone_makes_a_worker_unready_and_is_named(watch, address):
    def gone():
        raise OSError("gone")

    watch.assigned = True
    watch.ask("redis", gone)
    watch.ask("sql", list)
    assert status_of(address, "/readyz") == (503, "no answer from: redis\n")
    text = status_of(address, "/metrics")[1]
    assert 'weir_server_up{role="score",server="redis"} 0.0' in text
    assert 'weir_server_up{role="score",server="sql"} 1.0' in text
    assert 'weir_ready{role="score"} 0.0' in text


def test_a_server_that_hangs_holds_nobody_up_and_is_asked_once(watch, monkeypatch):
    monkeypatch.setattr("stream.probes.ANSWER_WITHIN_S", 0.05)
    let_go, asked = threading.Event(), []

    def hanging():
        asked.append(1)
        let_go.wait(10)
        return []

    watch.assigned = True
    watch.ask("kafka", hanging)
    probes = Probes(watch)
    began = time.monotonic()
    assert [probes.trouble() for _ in range(3)] == ["no answer from: kafka"] * 3
    assert time.monotonic() - began < 5
    assert len(asked) == 1
    let_go.set()


def test_readings_of_a_server_that_answers_are_told(watch, address):
    watch.ask("redis", lambda: iter([Reading("weir_redis_memory_used_bytes", 7)]))
    assert 'weir_redis_memory_used_bytes{role="score"} 7.0' in status_of(address, "/metrics")[1]


def test_a_taken_port_is_told_with_the_mend(watch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = ProbeServer(Probes(watch), bytes, "text/plain")
        with pytest.raises(PortTaken, match="--metrics-port"):
            server.listen("127.0.0.1", other.getsockname()[1])


def test_no_port_is_opened_unless_it_is_asked_for(tmp_path):
    with watching.role("score", config(tmp_path)) as watch:
        assert watch is None
    assert not (tmp_path / "weir").exists()


def test_a_port_is_on_loopback_unless_another_address_is_named(tmp_path):
    assert config(tmp_path, metrics_port="0").metrics_host == "127.0.0.1"
    with watching.role("score", config(tmp_path, metrics_port="0")):
        (address,) = addresses(tmp_path / "weir" / "metrics").values()
        assert address.startswith("http://127.0.0.1:")
        assert b"weir_build_info" in fetched(address, "/metrics")
    assert addresses(tmp_path / "weir" / "metrics") == {}


@pytest.mark.parametrize("port", ["eighty", "70000", "-1"])
def test_a_port_that_is_none_is_refused(tmp_path, port):
    with pytest.raises(ConfigError, match="WEIR_METRICS_PORT"):
        config(tmp_path, metrics_port=port)


def test_the_parts_of_a_weir_are_told_on_one_page_and_a_silent_one_is_named(tmp_path):
    socketed = config(tmp_path, metrics_port="socket")
    folder = tmp_path / "weir" / "metrics"
    with (
        watching.role("score", socketed) as score,
        watching.review(msgspec.structs.replace(socketed)) as probes,
    ):
        score.assigned = True
        assert (folder / "score.sock").stat().st_mode & 0o077 == 0, "only this user may open it"
        (folder / "learn.url").write_text(f"unix://{folder}/nobody.sock")
        page = set(watching.exposition(probes).decode().splitlines())
    assert {'weir_ready{role="score"} 1.0', 'weir_ready{role="review"} 1.0'} <= page
    assert {
        'weir_part_up{part="score",role="review"} 1.0',
        'weir_part_up{part="learn",role="review"} 0.0',
    } <= page
    assert sorted(each.name for each in folder.iterdir()) == ["learn.url"]


def test_one_address_of_several_that_answers_is_enough():
    with socket.socket() as there, socket.socket() as closed:
        there.bind(("127.0.0.1", 0))
        there.listen()
        closed.bind(("127.0.0.1", 0))
        open_one, shut_one = (f"127.0.0.1:{each.getsockname()[1]}" for each in (there, closed))
        assert reachable([shut_one, open_one]) == []
        with pytest.raises(ConnectionRefusedError):
            reachable([shut_one])
