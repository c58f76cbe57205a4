"""What the benchmarks of features share: a Valkey of their own, what something cost on both sides of the socket, tables."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from stream.embedded.server import ValkeyServer

SCRIPTS = ("evalsha", "eval", "fcall")
"""Commands whose time holds that of the commands they call."""

OURS = ("info", "config|resetstat")
"""Commands that measuring costs."""


@contextmanager
def valkey(**settings: str) -> Iterator[str]:
    """The URL of an empty server, set as `weir up` sets its own but for `settings`; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        server = ValkeyServer(Path(directory, "redis"), **settings)
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def redis_server(binary: str) -> Iterator[str]:
    """The URL of an empty server of another make, set as ours; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        url = f"unix://{directory}/socket"
        settings = {"port": "0", "unixsocket": f"{directory}/socket", "dir": directory, "appendonly": "yes"}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        process = subprocess.Popen([binary, *words, "--save", ""], stdout=subprocess.DEVNULL)
        try:
            patient = Retry(ConstantBackoff(0.1), 50)
            redis.Redis.from_url(url, retry=patient, retry_on_error=[redis.ConnectionError]).ping()
            yield url
        finally:
            process.terminate()
            process.wait()


class Spent(NamedTuple):
    """Microseconds, of one thing or (divided) of each."""

    wall: float
    ours: float  # of this process's CPU
    server: float  # of the server's CPU
    commands: float  # that the server spent in commands

    def each(self, count: int) -> Spent:
        """Of one of so many."""
        return Spent(*(value / count for value in self))

    @property
    def rate(self) -> float:
        """How many a second, one after the other."""
        return 1e6 / self.wall

    @property
    def cpu(self) -> float:
        """On both sides: what holds on a busy machine, too."""
        return self.ours + self.server


class Meter:
    """Measures work that runs in this process and in a server."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)

    def spent(self, work: Callable[[], object]) -> Spent:
        """Do it, and tell what it took."""
        self._redis.config_resetstat()
        server, ours, began = self._cpu(), time.process_time(), time.perf_counter()
        work()
        wall, own = time.perf_counter() - began, time.process_time() - ours
        return Spent(wall * 1e6, own * 1e6, (self._cpu() - server) * 1e6, self._commands())

    def memory(self) -> int:
        """Bytes that the server holds; what is being freed behind its back is awaited."""
        while int(self._redis.info("memory")["lazyfree_pending_objects"]):
            time.sleep(0.01)
        return int(self._redis.info("memory")["used_memory"])

    def _cpu(self) -> float:
        told = self._redis.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    def _commands(self) -> float:
        told = {
            name.removeprefix("cmdstat_"): each for name, each in self._redis.info("commandstats").items()
        }
        scripts = [float(told[name]["usec"]) for name in SCRIPTS if name in told]
        if scripts:
            return sum(scripts)
        return sum(float(each["usec"]) for name, each in told.items() if name not in OURS)


def middle(spent: Sequence[Spent]) -> Spent:
    """The median of each figure."""
    return Spent(*(median(each) for each in zip(*spent, strict=True)))


def say(line: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns: the first flush left, figures flush right."""
    lines = [[str(each) for each in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = zip(line, widths, strict=True)
        say("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]))


def load() -> str:
    """How busy the machine is: what a figure is to be read with."""
    return f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}"
