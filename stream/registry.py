"""Schemas by their number, from a schema registry over HTTP: each is asked for once, and kept."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec

from stream.config import Registry
from stream.security import tls_context

ANSWER_WITHIN_S = 5.0
LARGEST = 4_000_000
"""Bytes of an answer: a schema has thousands."""

PATIENCE_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Waits between attempts: a registry that restarts is back within them."""

UNKNOWN_S = 30.0
"""For so long a number that the registry does not know is not asked for again."""

MANY_UNKNOWN = 10_000

NOT_FOUND = frozenset({40401, 40402, 40403})
"""The registry's own codes for: no such subject, version, schema. Any other 404 is some other server's."""


class RegistryUnavailable(RuntimeError):
    """The schema registry cannot be asked, or refuses: records that need it wait. The message says what to do."""


class Registered(msgspec.Struct, frozen=True):
    """A schema as the registry keeps it."""

    number: int
    schema: str  # JSON
    references: tuple[Registered, ...] = ()  # schemas whose names it uses, each before those that use it
    kind: str = "AVRO"


class SchemaRegistry:
    """Asks a Confluent-compatible registry."""

    def __init__(
        self,
        registry: Registry,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`requests` counts what was asked; `sleep` waits between attempts."""
        self.requests = 0
        self._url = registry.url
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if registry.user and registry.password:
            login = f"{registry.user}:{registry.password.reveal()}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if registry.url.startswith("https"):
            handlers.append(urllib.request.HTTPSHandler(context=tls_context(registry.ca_file)))
        self._open = urllib.request.build_opener(*handlers).open
        self._sleep, self._clock = sleep, clock
        self._known: dict[int, Registered] = {}
        self._unknown: dict[int, float] = {}

    def by_number(self, number: int) -> Registered | None:
        """The schema of a number, None where there is none; raises RegistryUnavailable."""
        if number in self._known:
            return self._known[number]
        if self._unknown.get(number, 0.0) > self._clock():
            return None
        told = self._ask(f"/schemas/ids/{number}")
        if told is None:
            self._remember_unknown(number)
            return None
        self._known[number] = self._registered(number, told)
        return self._known[number]

    def newest(self, subject: str) -> Registered | None:
        """A subject's newest schema, None where there is no such subject; raises RegistryUnavailable."""
        told = self._ask(f"/subjects/{quote(subject, safe='')}/versions/latest")
        return None if told is None else self._registered(int(told["id"]), told)

    def _remember_unknown(self, number: int) -> None:
        if len(self._unknown) >= MANY_UNKNOWN:
            self._unknown.clear()
        self._unknown[number] = self._clock() + UNKNOWN_S

    def _registered(self, number: int, told: Mapping[str, Any]) -> Registered:
        references = []
        for each in told.get("references") or ():
            path = f"/subjects/{quote(each['subject'], safe='')}/versions/{int(each['version'])}"
            found = self._ask(path)
            if found is None:
                raise RegistryUnavailable(
                    f"the schema {number} names {path}, which {self._url} does not know"
                )
            references.append(self._registered(int(found["id"]), found))
        return Registered(number, str(told["schema"]), tuple(references), str(told.get("schemaType", "AVRO")))

    def _ask(self, path: str) -> Mapping[str, Any] | None:
        for wait in PATIENCE_S:
            try:
                return self._once(path)
            except OSError as error:  # HTTPError and URLError are such
                if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429:
                    self._refused(error)
                self._sleep(wait)
        try:
            return self._once(path)
        except OSError as error:
            raise RegistryUnavailable(
                f"the schema registry {self._url} does not answer: {error}. What it is needed for waits; nothing is lost"
            ) from error

    def _once(self, path: str) -> Mapping[str, Any] | None:
        self.requests += 1
        request = urllib.request.Request(self._url + path, headers=self._headers)
        try:
            with self._open(request, timeout=ANSWER_WITHIN_S) as answer:
                told: Mapping[str, Any] = json.loads(answer.read(LARGEST))
        except urllib.error.HTTPError as error:
            if error.code == 404 and _code(error) in NOT_FOUND:
                return None
            raise
        except ValueError as error:
            raise RegistryUnavailable(
                f"{self._url}{path} answers with no JSON: is WEIR_SCHEMA_REGISTRY a schema registry's address?"
            ) from error
        return told

    def _refused(self, error: urllib.error.HTTPError) -> NoReturn:
        if error.code in (401, 403):
            mend = "see WEIR_SCHEMA_REGISTRY_USER and WEIR_SCHEMA_REGISTRY_PASSWORD_FILE"
        else:
            mend = "is WEIR_SCHEMA_REGISTRY a schema registry's address?"
        raise RegistryUnavailable(
            f"the schema registry {self._url} answers {error.code} {error.reason}: {mend}"
        ) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the password to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _code(error: urllib.error.HTTPError) -> int | None:
    try:
        told = json.loads(error.read(LARGEST))
    except ValueError:
        return None
    return told.get("error_code") if isinstance(told, dict) else None
