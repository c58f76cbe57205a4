"""Secrets: read from the environment or a file, shown to nobody, and taken out of every text that leaves the process."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode

HIDDEN = "***"

SHORTEST = 8
"""A shorter secret is not looked for in texts: it would hide common words, and tell by that what it is.

Nor are our own texts in need of it: no message names a secret, and `masked` takes them out of addresses."""

_known: set[str] = set()


class Secret:
    """A text that prints as ``***``; `reveal` gives it to the client that needs it.

    >>> password = Secret("correct horse")
    >>> f"{password} {password!r}", scrubbed("login with correct horse failed")
    ('*** ***', 'login with *** failed')
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Every text that goes through `scrubbed` loses it from now on."""
        self._text = text
        learn(text)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


def learn(text: str) -> None:
    """Take `text` out of what `scrubbed` is given from now on."""
    if len(text) >= SHORTEST:
        _known.update((text, quote(text, safe=""), unquote(text)))


def scrubbed(text: str) -> str:
    """The text without any secret that this process knows."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


class ScrubbingFormatter(logging.Formatter):
    """Log lines, tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return scrubbed(super().format(record))


def print_scrubbed(kind: type[BaseException], error: BaseException, trace: TracebackType | None, /) -> None:
    """A traceback on stderr without secrets; fits ``sys.excepthook``."""
    sys.stderr.write(scrubbed("".join(traceback.format_exception(kind, error, trace))))


def masked(url: str) -> str:
    """A URL without its passwords, however badly it is written.

    >>> masked("redis://user:secret@host:6379/0"), masked("redis://:a/b@host")
    ('redis://user:***@host:6379/0', 'redis://:***@host')
    >>> masked("postgresql://host/weir?sslmode=require&password=secret")
    'postgresql://host/weir?sslmode=require&password=***'
    """
    scheme, separator, rest = url.partition("://")
    userinfo, at, address = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{user}{colon and ':' + HIDDEN}{at}{address}"
    path, mark, query = shown.partition("?")
    return scheme + separator + path + mark + (_masked_query(query) if mark else "")


def _masked_query(query: str) -> str:
    if "pass" not in query.lower():
        return query
    pairs = [
        (name, HIDDEN if "pass" in name.lower() else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return urlencode(pairs, safe="*/:,")


def passwords_in(url: str) -> list[str]:
    """The passwords that a URL holds, as they stand in it.

    >>> passwords_in("redis://:a/b@host"), passwords_in("kafka://host:9092")
    (['a/b'], [])
    """
    _, _, rest = url.partition("://")
    userinfo, _, _ = rest.rpartition("@")
    inside = [userinfo.partition(":")[2]]
    inside += [value for name, value in parse_qsl(rest.partition("?")[2]) if "pass" in name.lower()]
    return [password for password in inside if password]
