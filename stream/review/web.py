"""The review process: pages and API on one loopback port, and the outbox behind them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from features.profile import Profile
from stream.decisions import LABELS
from stream.probes import Probes
from stream.records import Publisher
from stream.review import api
from stream.review.guard import Guard, token_in
from stream.review.ledger import Ledger
from stream.review.metrics import readings
from stream.review.outbox import Outbox
from stream.review.posting import Desk
from stream.review.queue import OpenerOf, ReviewQueue
from stream.review.screens import add_pages
from stream.watching import exposition

PORT = 8765
LOOPBACK = "127.0.0.1"


class PortTaken(Exception):
    """The port that was asked for belongs to somebody else."""


def make_app(
    *,
    ledger: Ledger,
    publisher: Publisher,
    profile: Profile,
    unseal: Callable[[bytes], bytes],
    opener: OpenerOf | None = None,
    prefix: str,
    token: str,
    probes: Probes,
) -> FastAPI:
    """The whole web app, guarded by the token; `unseal` opens what the recorder sealed, `opener` what is people's."""
    queue = ReviewQueue(ledger, unseal, opener)
    outbox = Outbox(queue, publisher, prefix + LABELS)
    probes.watch.ask("sql", lambda: readings(ledger, queue, outbox))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        outbox.start()
        yield
        outbox.stop()

    app = _App(
        title="Weir", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.add_middleware(Guard, token=token)
    app.include_router(api.watching(ledger, lambda: exposition(probes)))
    app.include_router(api.reviewing(queue, outbox))
    app.include_router(api.scoring(ledger, Desk(ledger, publisher, profile, prefix)))
    add_pages(app, queue, profile)
    return app


class _App(FastAPI):
    """FastAPI, with the schemas of our own records in its description."""

    def openapi(self) -> dict[str, Any]:
        """The description at /api/v1/openapi.json."""
        fresh = self.openapi_schema is None
        described = super().openapi()
        if fresh:
            described.setdefault("components", {}).setdefault("schemas", {}).update(api.schemas())
        return described


def serve(
    *,
    ledger: Ledger,
    publisher: Publisher,
    profile: Profile,
    unseal: Callable[[bytes], bytes],
    opener: OpenerOf | None = None,
    prefix: str,
    token_file: Path,
    address_file: Path,
    port: int | None = None,
    host: str = LOOPBACK,
    probes: Probes,
) -> None:
    """Serve on loopback until SIGTERM or SIGINT; the full link stands in `address_file` while it listens.

    Another `host` is for a container whose port is published on its machine's loopback: browsers still have to say
    that they come to this machine's own address, and to bring the token.
    """
    token = token_in(token_file)
    listener = _listen(port, host)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/?token={token}"
    app = make_app(
        ledger=ledger,
        publisher=publisher,
        profile=profile,
        unseal=unseal,
        opener=opener,
        prefix=prefix,
        token=token,
        probes=probes,
    )
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, server_header=False
    )
    server = uvicorn.Server(config)
    _end_on_signals(server)
    _write_private(address_file, address)
    try:
        server.run([listener])
    finally:
        address_file.unlink(missing_ok=True)
        publisher.close()
        ledger.close()


def _end_on_signals(server: uvicorn.Server) -> None:
    """Uvicorn raises the signal that ended it once more, when it has given back the handlers that it found."""

    def end(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def _listen(port: int | None, host: str = LOOPBACK) -> socket.socket:
    """A listening socket: at the port that was asked for, else at PORT, else at a free one."""
    for candidate in (port,) if port else (PORT, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError:
            listener.close()
            continue
        listener.listen(128)
        return listener
    raise PortTaken(f"port {port} of {host} cannot be had; leave --port out to get a free one")


def _write_private(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    fresh.replace(file)
