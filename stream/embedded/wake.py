"""Sleeping until something is appended, across processes: a unix datagram socket for every reader that waits."""

from __future__ import annotations

import errno
import os
import secrets
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_SOCKET = 100
"""Bytes of a socket's path that every system takes."""

FULL = (errno.EAGAIN, errno.ENOBUFS)
"""What a socket says whose reader has pokes waiting already: another one would tell it nothing new."""


class Waker:
    """A socket on which appends are heard: wait on it instead of asking again and again."""

    def __init__(self, directory: Path) -> None:
        """Listen in `directory` from now on; what was appended before is not heard of."""
        self._path = directory / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with _short(self._path) as path:
            self._socket.bind(path)

    def fileno(self) -> int:
        """For select and event loops: readable when something was appended."""
        return self._socket.fileno()

    def clear(self) -> None:
        """Forget the pokes so far; call it before looking for records, not after."""
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(16)

    def wait(self, seconds: float) -> bool:
        """Sleep until something is appended; whether it was."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def wake(directory: Path) -> None:
    """Poke every reader that listens in `directory`. One that died is swept away."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as poker:
        poker.setblocking(False)
        for entry in os.scandir(directory):
            path = Path(entry.path)
            try:
                with _short(path) as address:
                    poker.sendto(b"!", address)
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)
            except OSError as error:
                if error.errno not in FULL:
                    raise


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path of a socket as the system takes it: a long one goes through its directory's descriptor."""
    if len(os.fsencode(path)) < LONGEST_SOCKET:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
