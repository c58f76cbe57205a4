"""Where everything is: one frozen Config from flags, then the environment, then ``weir.toml``."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import msgspec

from features.grammar import duration_us
from stream.secret import Secret, learn, masked, passwords_in
from stream.security import IN_THE_CLEAR, SECRETS, KafkaSecurity, SecurityError, kafka_security, secrets_in

__all__ = ["Config", "ConfigError", "Registry", "load", "masked"]

SETTINGS = (
    "dir",
    "broker",
    "redis",
    "database",
    "profile",
    "topic_prefix",
    "model",
    "network",
    "seal_key_file",
    "accept_gap",
    "metrics_port",
    "metrics_host",
    "traces",
)
"""What ``weir.toml`` may hold, and ``WEIR_<NAME>`` in the environment; flags of the same names come first."""

SERVERS = (
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "kafka_user",
    "kafka_ca_file",
    "kafka_cert_file",
    "kafka_key_file",
    "schema_registry",
    "schema_registry_user",
    "schema_registry_ca_file",
    "model_key_file",
    "model_trusted_keys",
    "snapshot_every",
    "wait_records",
    "network_deadline_ms",
    "network_device",
)
"""The same without flags."""

SECRET_FILES = tuple(f"{name}_file" for name in SECRETS)


WAIT_RECORDS = 200_000
"""Of the log, which are read again in ten seconds or so."""

DEADLINE_MS = 250
"""Many times what a step takes on one processor, and little beside what a stream's user waits."""

NO_NETWORK = "none"
"""Instead of a folder: the network that is published is not used."""

YES = ("1", "true", "yes", "on")


class ConfigError(Exception):
    """A setting that cannot be used: which one, where it came from, and what to do."""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Where Avro schemas are asked for."""

    url: str
    user: str | None = None
    password: Secret | None = None
    ca_file: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Where one Weir keeps its state and finds its servers."""

    dir: Path  # the embedded state, keys, and everything else on this disk
    broker: str  # embedded://DIR or kafka://HOST:PORT[,...]
    redis: str | None  # a URL; None: our own server in `dir`
    database: str  # an SQLAlchemy URL
    profile: str  # a shipped profile's name, or a path to a TOML file
    topic_prefix: str = ""
    model: str | None = None  # a snapshot file: decide with this one and no other (pinned)
    network: str | None = (
        None  # a folder: let this network read along; "none": none; None: the one on the topic of models
    )
    network_deadline_ms: int = DEADLINE_MS  # a step that takes longer is decided without
    network_device: str = "cpu"  # as torch names it
    seal_key_file: str | None = None  # the master key of everything sealed; None: one in `dir`
    accept_gap: bool = False  # go on although the log let go what was still needed
    metrics_port: int | None = None  # None: no port for metrics and probes; 0: any that is free
    metrics_socket: bool = False  # a unix socket for them, which only this user may open
    metrics_host: str = "127.0.0.1"  # nothing asks for a token there, so it is told to nobody else by itself
    traces: float = 0.0  # the share of chunks that are traced (OpenTelemetry)
    kafka: KafkaSecurity = IN_THE_CLEAR
    registry: Registry | None = None
    model_key_file: Path | None = None  # what the learner signs with; None: made in `dir`
    model_trusted_keys: Path | None = None  # whose snapshots scorers accept; None: in `dir`
    snapshot_every_us: int = 0  # so often a score worker takes a snapshot of the feature store; 0: never
    wait_records: int = WAIT_RECORDS  # a store that lost so many is filled before anything is decided
    given: dict[str, str] = {}  # what was set beside the flags' settings, without secrets: see SERVERS

    @property
    def embedded(self) -> bool:
        """Whether the log is the embedded one."""
        return self.broker.startswith("embedded://")

    def topic(self, name: str) -> str:
        """A topic's name on the log: a tenant's prefix comes first."""
        return self.topic_prefix + name

    def shown(self) -> dict[str, str]:
        """The settings for people: passwords are masked."""
        named = {name: str(getattr(self, name) or "") for name in SETTINGS}
        return {name: masked(value) for name, value in (named | self.given).items()}

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables, for a child process; it inherits the variables of secrets."""
        values = {name: getattr(self, name) for name in SETTINGS} | self.given
        return {f"WEIR_{name.upper()}": str(value) for name, value in values.items() if value}

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"


def load(
    flags: Mapping[str, str | None], environ: Mapping[str, str] = os.environ, file: Path = Path("weir.toml")
) -> Config:
    """The Config that flags, the environment and a file give, in this order of strength.

    Raises ConfigError for an unknown setting, a file that is not TOML, a broker that Weir does not speak, or a
    password where everybody could read it.
    """
    _refuse_secrets(flags)
    given = _from_file(file) | _from_environment(environ) | {k: v for k, v in flags.items() if v}
    for url in given.values():
        for password in passwords_in(url) if "://" in url else ():
            learn(password)
    try:
        secrets = secrets_in(environ, given)
        kafka = kafka_security(given, secrets.get("kafka_password"))
    except SecurityError as error:
        raise ConfigError(str(error)) from error
    directory = Path(given.get("dir", ".weir")).expanduser().resolve()
    return Config(
        dir=directory,
        broker=_broker(given.get("broker", f"embedded://{directory}/log")),
        redis=_with_password(given.get("redis"), "redis", secrets),
        database=_with_password(given.get("database"), "database", secrets)
        or f"sqlite:///{directory}/weir.db",
        profile=given.get("profile", "payments"),
        topic_prefix=given.get("topic_prefix", ""),
        model=given.get("model"),
        network=given.get("network"),
        network_deadline_ms=_whole(given, "network_deadline_ms", DEADLINE_MS, "milliseconds"),
        network_device=given.get("network_device", "cpu"),
        seal_key_file=given.get("seal_key_file"),
        accept_gap=given.get("accept_gap", "").lower() in YES,
        metrics_port=_port(given.get("metrics_port", SOCKET)),
        metrics_socket=given.get("metrics_port") == SOCKET,
        metrics_host=given.get("metrics_host", LOOPBACK),
        traces=_share(given, environ),
        kafka=kafka,
        registry=_registry(given, secrets),
        model_key_file=_existing(given, "model_key_file"),
        model_trusted_keys=_existing(given, "model_trusted_keys"),
        snapshot_every_us=_every(given),
        wait_records=_whole(given, "wait_records", WAIT_RECORDS, "records"),
        given={name: given[name] for name in (*SERVERS, *SECRET_FILES) if name in given},
    )


def _refuse_secrets(flags: Mapping[str, str | None]) -> None:
    for name, value in flags.items():
        if value and "://" in value and passwords_in(value):
            raise ConfigError(
                f"--{name.replace('_', '-')} holds a password, and everybody on this machine can read a command line: "
                f"set {_instead(name)}"
            )


def _instead(name: str) -> str:
    if name == "broker":
        return "WEIR_KAFKA_USER and WEIR_KAFKA_PASSWORD_FILE"
    return f"WEIR_{name.upper()}_PASSWORD_FILE, or WEIR_{name.upper()} in the environment"


def _broker(url: str) -> str:
    if not url.startswith(("embedded://", "kafka://")):
        raise ConfigError(f"the broker {masked(url)!r} is neither embedded://DIR nor kafka://HOST:PORT")
    if url.startswith("kafka://") and "@" in url:
        raise ConfigError(f"the broker {masked(url)!r} names a user: set {_instead('broker')}")
    return url


def _with_password(url: str | None, name: str, secrets: Mapping[str, Secret]) -> str | None:
    """The URL with the password that was given beside it."""
    password = secrets.get(f"{name}_password")
    if password is None:
        return url
    variable = f"WEIR_{name.upper()}"
    if not url or "://" not in url or url.startswith("sqlite"):
        raise ConfigError(f"{variable}_PASSWORD is set, but {variable} names no server that asks for one")
    scheme, _, rest = url.partition("://")
    userinfo, at, address = rest.rpartition("@")
    user, _, present = userinfo.partition(":")
    quoted = quote(password.reveal(), safe="")
    if present not in ("", quoted):
        raise ConfigError(
            f"{variable} holds a password, and {variable}_PASSWORD another: take one of them out"
        )
    return f"{scheme}://{user}:{quoted}@{address if at else rest}"


def _existing(given: Mapping[str, str], name: str) -> Path | None:
    """A file that is named, and so has to be there."""
    if name not in given:
        return None
    path = Path(given[name]).expanduser().resolve()
    if not path.is_file():
        raise ConfigError(
            f"WEIR_{name.upper()} names {given[name]}, and there is no such file: `weir models keys --help` says how keys "
            "are made and moved; without the setting they lie in WEIR_DIR/keys"
        )
    return path


LOOPBACK = "127.0.0.1"
SOCKET = "socket"
"""Instead of a port: a unix socket, as the parts of a `weir up` have one for the review process."""


def _port(text: str) -> int | None:
    if text == SOCKET:
        return None
    if not text.isdecimal() or int(text) > 65_535:
        raise ConfigError(f"WEIR_METRICS_PORT is {text!r}: a port is expected, or 0 for any that is free")
    return int(text)


OTEL = "opentelemetry.exporter"
"""Of the optional libraries that traces need, the one that nothing else brings along."""

TRACED = 0.01
"""Of the chunks, where an address for traces is set, but no share."""


def _share(given: Mapping[str, str], environ: Mapping[str, str]) -> float:
    """The share of chunks that are traced: WEIR_TRACES, else a few where OpenTelemetry's own variable names an address."""
    text = given.get("traces")
    if text is None:
        return TRACED if environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") and _installed(OTEL) else 0.0
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ConfigError(f"WEIR_TRACES is {text!r}: the share of chunks to trace is expected, 0 to 1")
    return share


def _every(given: Mapping[str, str]) -> int:
    text = given.get("snapshot_every", "")
    try:
        return duration_us(text) if text else 0
    except ValueError as error:
        raise ConfigError(f"WEIR_SNAPSHOT_EVERY {error}") from error


def _whole(given: Mapping[str, str], name: str, unset: int, what: str) -> int:
    text = given.get(name, str(unset))
    if not text.isdecimal():
        raise ConfigError(f"WEIR_{name.upper()} is {text!r}: a number of {what} is expected")
    return int(text)


def _installed(module: str) -> bool:
    parent, _, _ = module.partition(".")
    return find_spec(parent) is not None and find_spec(module) is not None


def _registry(given: Mapping[str, str], secrets: Mapping[str, Secret]) -> Registry | None:
    url = given.get("schema_registry")
    if not url:
        return None
    if not url.startswith(("http://", "https://")) or "@" in url:
        raise ConfigError(
            f"WEIR_SCHEMA_REGISTRY is {masked(url)!r}: an address such as https://registry:8081 is expected; "
            "a user and password go into WEIR_SCHEMA_REGISTRY_USER and WEIR_SCHEMA_REGISTRY_PASSWORD_FILE"
        )
    return Registry(
        url=url.rstrip("/"),
        user=given.get("schema_registry_user"),
        password=secrets.get("schema_registry_password"),
        ca_file=given.get("schema_registry_ca_file"),
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    known = (*SETTINGS, *SERVERS, *SECRET_FILES)
    named = {name: environ.get(f"WEIR_{name.upper()}") for name in known}
    return {name: value for name, value in named.items() if value}


def _from_file(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        read = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    known = (*SETTINGS, *SERVERS, *SECRET_FILES)
    unknown = sorted(set(read) - set(known))
    if set(unknown) & set(SECRETS):
        raise ConfigError(
            f"{file} holds a password: put it into a file of its own, and name that as {unknown[0]}_file"
        )
    if unknown:
        raise ConfigError(
            f"{file} names unknown settings: {', '.join(unknown)}; known are {', '.join(known)}"
        )
    return {name: str(value) for name, value in read.items()}
