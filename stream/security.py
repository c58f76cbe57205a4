"""How Weir proves to its servers who it is, and how it knows them: TLS, SASL, and where the passwords come from."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stream.secret import Secret

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

SECRETS = ("kafka_password", "redis_password", "database_password", "schema_registry_password")
"""``WEIR_<NAME>`` in the environment, or ``WEIR_<NAME>_FILE`` (in ``weir.toml``: ``<name>_file``), a file that holds it."""


class SecurityError(ValueError):
    """A security setting that cannot be used: which one, and what to do."""


class KafkaSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """How Kafka is spoken to; the default is in the clear and without a name."""

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = None
    password: Secret | None = None
    ca_file: str | None = None  # PEM; None: what this system trusts
    cert_file: str | None = None  # PEM: our own certificate, where the brokers ask for one
    key_file: str | None = None  # PEM; None: it stands in cert_file

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether a user logs in."""
        return self.protocol.startswith("SASL")

    def context(self) -> ssl.SSLContext | None:
        """TLS with the brokers' names checked; None without TLS. Raises SecurityError."""
        return tls_context(self.ca_file, self.cert_file, self.key_file) if self.tls else None

    def client(self) -> dict[str, Any]:
        """The settings of a kafka-python client."""
        settings: dict[str, Any] = {"security_protocol": self.protocol, "ssl_context": self.context()}
        if self.sasl and self.password is not None:
            settings["sasl_mechanism"] = self.mechanism
            settings["sasl_plain_username"] = self.user
            settings["sasl_plain_password"] = self.password.reveal()
        return settings


IN_THE_CLEAR = KafkaSecurity()


def kafka_security(given: Mapping[str, str], password: Secret | None) -> KafkaSecurity:
    """From the settings ``kafka_...``; raises SecurityError for what does not go together."""
    user, ca = given.get("kafka_user"), given.get("kafka_ca_file")
    guessed = "SASL_SSL" if user else "SSL" if ca else "PLAINTEXT"  # never a password in the clear unasked
    security = KafkaSecurity(
        protocol=given.get("kafka_security_protocol", guessed).upper(),
        mechanism=given.get("kafka_sasl_mechanism", "PLAIN").upper(),
        user=user,
        password=password,
        ca_file=ca,
        cert_file=given.get("kafka_cert_file"),
        key_file=given.get("kafka_key_file"),
    )
    _check(security)
    security.context()  # a file that cannot be used is told now, not at the first connection
    return security


def _check(security: KafkaSecurity) -> None:
    if security.protocol not in PROTOCOLS:
        raise SecurityError(
            f"WEIR_KAFKA_SECURITY_PROTOCOL is {security.protocol!r}; known are {', '.join(PROTOCOLS)}"
        )
    if security.mechanism not in MECHANISMS:
        raise SecurityError(
            f"WEIR_KAFKA_SASL_MECHANISM is {security.mechanism!r}; known are {', '.join(MECHANISMS)}"
        )
    if security.sasl and not (security.user and security.password):
        raise SecurityError(
            f"{security.protocol} needs WEIR_KAFKA_USER, and WEIR_KAFKA_PASSWORD or WEIR_KAFKA_PASSWORD_FILE"
        )
    if not security.sasl and (security.user or security.password):
        raise SecurityError(
            f"a user or a password is set, but {security.protocol} logs nobody in: "
            "set WEIR_KAFKA_SECURITY_PROTOCOL to SASL_SSL (or SASL_PLAINTEXT)"
        )
    if not security.tls and (security.ca_file or security.cert_file):
        raise SecurityError(
            f"a certificate is named, but {security.protocol} is not encrypted: "
            "set WEIR_KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL"
        )


def tls_context(ca: str | None, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """A client's TLS settings from PEM files; raises SecurityError for a file that cannot be used."""
    for file in (ca, cert, key):
        if file and not Path(file).is_file():
            raise SecurityError(f"there is no certificate or key file {file}")
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key, password=_nobody)
    except (OSError, ValueError) as error:
        named = ", ".join(file for file in (ca, cert, key) if file)
        raise SecurityError(f"not a usable PEM certificate or key in {named}: {error}") from error
    return context


def _nobody() -> str:
    raise ValueError("the key is encrypted: give one that is not, readable by this user only")


def secrets_in(environ: Mapping[str, str], given: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets by name: from the environment, or from the files that it or `given` names. Raises SecurityError."""
    found: dict[str, Secret] = {}
    for name in SECRETS:
        variable = f"WEIR_{name.upper()}"
        text, file = environ.get(variable), given.get(f"{name}_file")
        if text and file and f"{variable}_FILE" in environ:
            raise SecurityError(f"{variable} and {variable}_FILE are both set: which of the two is meant?")
        if not text and file:
            text = _from_file(f"{variable}_FILE", file)
        if text:
            found[name] = Secret(text)
    return found


def _from_file(variable: str, file: str) -> str:
    try:
        text = Path(file).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecurityError(f"{variable} names {file}, which cannot be read: {error}") from error
    if not text:
        raise SecurityError(
            f"{variable} names {file}, which is empty: it must hold the password and nothing else"
        )
    return text
