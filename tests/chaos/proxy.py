"""A network between Kafka and its clients that may lose the answer to a produce which the broker has acknowledged."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import Self

PRODUCE = 0
"""Kafka's number for that request: the first two bytes behind the length."""

LENGTH = struct.Struct(">i")


class Proxy:
    """Listens on a port of its own and passes frames on, both ways, until it is told to lose an answer."""

    def __init__(self) -> None:
        self.target = 0
        self.lost = 0
        self._to_lose = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def lose(self, answers: int = 1) -> None:
        """The next so many answers to a produce are lost, and the connections on which they came are closed."""
        with self._lock:
            self._to_lose += answers

    def _serve(self) -> None:
        with suppress(OSError):  # the listener is closed: the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            broker = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        broker.settimeout(None)
        asked: deque[int] = deque()
        threading.Thread(target=self._requests, args=(client, broker, asked), daemon=True).start()
        self._answers(broker, client, asked)

    def _requests(self, client: socket.socket, broker: socket.socket, asked: deque[int]) -> None:
        with suppress(OSError):
            while frame := _frame(client):
                asked.append(int.from_bytes(frame[4:6], "big"))
                broker.sendall(frame)
        _close(client, broker)

    def _answers(self, broker: socket.socket, client: socket.socket, asked: deque[int]) -> None:
        """Answers come in the order of the requests (clients ask for acks=all, so each has one)."""
        with suppress(OSError):
            while frame := _frame(broker):
                if asked.popleft() == PRODUCE and self._loses():
                    break
                client.sendall(frame)
        _close(client, broker)

    def _loses(self) -> bool:
        with self._lock:
            if not self._to_lose:
                return False
            self._to_lose -= 1
            self.lost += 1
            return True


def _frame(source: socket.socket) -> bytes:
    """A whole frame with its length; nothing at the end."""
    head = _exactly(source, LENGTH.size)
    if not head:
        return b""
    return head + _exactly(source, LENGTH.unpack(head)[0])


def _exactly(source: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        some = source.recv(size - len(got))
        if not some:
            return b""
        got += some
    return bytes(got)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
