"""What a process tells those who watch it: /metrics, /healthz and /readyz, on a port of its own, where it is asked to.

Nothing here needs a token, so the port is on loopback unless somebody says otherwise, and it tells counts only.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer

from stream.watch import Reading, RoleWatch

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 2.0
"""How long a server may take to answer before it counts as gone: Prometheus and Kubernetes wait longer for us."""

UNIX = "unix://"


class PortTaken(Exception):
    """The port for metrics belongs to somebody else."""


class Probes:
    """Whether a role is well: what it reads of itself, and whether the servers that it needs answer."""

    def __init__(self, watch: RoleWatch, parts: Path | None = None) -> None:
        """Look at `watch`; `parts` is the folder where other processes on this machine say where they answer."""
        self.watch = watch
        self.parts = parts
        self._threads = ThreadPoolExecutor(thread_name_prefix="probe")
        self._waiting: dict[str, Future[list[Reading]]] = {}
        self._lock = threading.Lock()

    def readings(self) -> Iterator[Reading]:
        """All that is known by now; servers are asked, all at once."""
        answers = self._answers()
        yield Reading("weir_ready", int(self._trouble(answers) is None))
        yield Reading("weir_standing_by", int(self.watch.standing_by))
        for server, answer in answers.items():
            yield Reading("weir_server_up", int(answer is not None), {"server": server})
            yield from answer or ()
        for source in self.watch.sources:
            yield from source()

    def trouble(self) -> str | None:
        """Why the role is not ready; None when it is."""
        return self._trouble(self._answers())

    def _trouble(self, answers: dict[str, list[Reading] | None]) -> str | None:
        if self.watch.ending():
            return "it is ending"
        if not (self.watch.assigned or self.watch.standing_by):
            return "it is starting: no partitions are assigned to it yet"
        silent = [server for server, answer in answers.items() if answer is None]
        return f"no answer from: {', '.join(silent)}" if silent else None

    def _answers(self) -> dict[str, list[Reading] | None]:
        """What each server says; None where it does not answer in time, or did not yet when it was asked before."""
        asked = [(server, self._begin(server)) for server in self.watch.asked]
        return {server: _answer(server, future) for server, future in asked}

    def _begin(self, server: str) -> Future[list[Reading]]:
        """Ask in a thread; whoever comes while it still waits waits for the same answer."""
        with self._lock:
            pending = self._waiting.get(server)
            if pending is None or pending.done():
                source = self.watch.asked[server]
                pending = self._waiting[server] = self._threads.submit(lambda: list(source()))
            return pending


def _answer(server: str, future: Future[list[Reading]]) -> list[Reading] | None:
    try:
        return future.result(ANSWER_WITHIN_S)
    except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot be relied on
        logger.debug("%s does not answer a probe: %s", server, error)
        return None


class ProbeServer:
    """Answers on a port, in threads of its own."""

    def __init__(self, probes: Probes, exposition: Callable[[], bytes], content_type: str) -> None:
        """`exposition` makes what /metrics answers."""
        self._probes = probes
        self._exposition = exposition
        self._content_type = content_type
        self._server: ThreadingHTTPServer | None = None
        self._socket: Path | None = None

    def listen(self, host: str, port: int) -> str:
        """Listen on a port (0: a free one), and give the address; raises PortTaken."""
        try:
            server = _Server((host, port), self._handler())
        except OSError as error:
            raise PortTaken(
                f"the port {port} of {host} for metrics cannot be had ({error.strerror}): choose another one "
                "(--metrics-port, WEIR_METRICS_PORT), 0 for any that is free"
            ) from error
        self._start(server)
        return f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}"

    def listen_at(self, path: Path) -> str:
        """Listen on a unix socket that only this user may open, and give the address."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        self._socket = path
        self._start(_UnixServer(path, self._handler()))
        return UNIX + str(path)

    def _start(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, type and body of what a path asks for."""
        if path == "/metrics":
            return 200, self._content_type, self._exposition()
        if path == "/healthz":
            return 200, "text/plain", b"the process lives\n"
        if path == "/readyz":
            trouble = self._probes.trouble()
            return (
                (503, "text/plain", f"{trouble}\n".encode()) if trouble else (200, "text/plain", b"ready\n")
            )
        return 404, "text/plain", b"there are /metrics, /healthz and /readyz\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # seconds for a request to come in

            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                logger.debug(format, *args)

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """HTTPServer would ask the name service who we are, which may take its time, and need not know."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", 0


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def __init__(self, path: Path, handler: type[BaseHTTPRequestHandler]) -> None:
        ThreadingHTTPServer.__init__(self, str(path), handler)  # type: ignore[arg-type] # a path is AF_UNIX's address
        path.chmod(0o600)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetched(address: str, path: str) -> bytes:
    """What a process answers at an address that `listen` or `listen_at` gave; raises OSError, HTTPException."""
    if address.startswith(UNIX):
        connection: HTTPConnection = _UnixConnection(address.removeprefix(UNIX))
    else:
        connection = HTTPConnection(address.removeprefix("http://"), timeout=ANSWER_WITHIN_S)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def addresses(directory: Path | None) -> dict[str, str]:
    """Where the parts of a Weir answer, as they kept it."""
    files = sorted(directory.glob("*.url")) if directory else []
    return {file.stem: file.read_text() for file in files}


def write_address(directory: Path, part: str, address: str) -> Path:
    """Keep where a part answers, for the review process to find."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{part}.url"
    fresh = file.with_suffix(".new")
    fresh.write_text(address)
    fresh.replace(file)
    return file


def reachable(addresses: Iterable[str]) -> list[Reading]:
    """Nothing, if one of these HOST:PORT takes a connection; raises OSError where none does."""
    refused = OSError("no address is named")
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), ANSWER_WITHIN_S):
                return []
        except OSError as error:
            refused = error
    raise refused
