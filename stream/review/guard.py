"""Who may speak to the review page, until there is sign-in: somebody on this machine who was given the token."""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz"})
SHORTEST = 20
"""A token with fewer characters was not written by us, or not to its end: an empty one would let everybody in."""

HOSTS = ("127.0.0.1", "localhost", "[::1]")

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
SAFE = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def token_in(file: Path) -> str:
    """The token kept in a file that only its owner may read; made at first use, and anew where others could read it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if file.exists() and (file.stat().st_mode & 0o077 or len(file.read_text().strip()) < SHORTEST):
        file.unlink()
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(secrets.token_urlsafe(24))
    with suppress(FileExistsError):
        os.link(fresh, file)  # whole or not at all, and the first of several processes wins
    fresh.unlink()
    return file.read_text().strip()


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, and whoever has no token; sets the safe headers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Let those with `token` in to `app`."""
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        """A name that resolves to this machine, and a page of another origin, are both somebody else's reach."""
        host = request.headers.get("host", "")
        if not _ours(host):
            return PlainTextResponse("this page answers only to its own address on this machine\n", 421)
        if request.method not in ("GET", "HEAD") and not _from_here(request.headers, host):
            return PlainTextResponse("a request from another page is not accepted\n", 403)
        if request.scope["path"] in OPEN_PATHS:
            return None
        if request.method == "GET" and self._right(request.query_params.get("token", "")):
            return self._let_in(request, host)
        if self._right(request.cookies.get(cookie_of(host), "")) or self._right(_bearer(request.headers)):
            return None
        return _no_token(request.headers)

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _let_in(self, request: Request, host: str) -> Response:
        """Take the token out of the address, so that it stays in no history, and keep it in a cookie."""
        response = RedirectResponse("/" + quote(request.scope["path"].lstrip("/")), 303)
        response.set_cookie(cookie_of(host), self._token, httponly=True, samesite="strict", path="/")
        return response


def cookie_of(host: str) -> str:
    """The cookie's name: a browser gives the cookies of a host to all its ports, where several Weirs may live.

    >>> cookie_of("127.0.0.1:8765")
    'weir_8765'
    """
    return f"weir_{host.rpartition(':')[2]}"


def _ours(host: str) -> bool:
    name, _, port = host.rpartition(":")
    return (name if port.isdecimal() else host) in HOSTS


def _from_here(headers: Headers, host: str) -> bool:
    """Whether a browser sent this for a page of ours, or something that is no browser did."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    return site in (None, "same-origin", "none") and origin in (None, f"http://{host}")


def _no_token(headers: Headers) -> Response:
    text = "open the link that `weir up` or `weir review` printed: it carries the token"
    if "text/html" in headers.get("accept", ""):
        return PlainTextResponse(f"This is Weir's review queue. To get in, {text}.\n", 401)
    return JSONResponse({"detail": text + " (programs send it as Authorization: Bearer TOKEN)"}, 401)


def _bearer(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *SAFE]
        await send(message)

    return sending
