"""Where everything is: one frozen Config from flags, then the environment, then ``weir.toml``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

SETTINGS = ("dir", "broker", "redis", "database", "profile", "topic_prefix", "model", "accept_gap")
"""What ``weir.toml`` may hold, and ``WEIR_<NAME>`` in the environment."""


YES = ("1", "true", "yes", "on")


class ConfigError(Exception):
    """A setting that cannot be used: which one, where it came from, and what to do."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Where one Weir keeps its state and finds its servers."""

    dir: Path  # the embedded state, keys, and everything else on this disk
    broker: str  # embedded://DIR or kafka://HOST:PORT[,...]
    redis: str | None  # a URL; None: our own server in `dir`
    database: str  # an SQLAlchemy URL
    profile: str  # a shipped profile's name, or a path to a TOML file
    topic_prefix: str = ""
    model: str | None = None  # a snapshot file: decide with this one and no other (pinned)
    accept_gap: bool = False  # go on although the log let go what was still needed

    @property
    def embedded(self) -> bool:
        """Whether the log is the embedded one."""
        return self.broker.startswith("embedded://")

    def topic(self, name: str) -> str:
        """A topic's name on the log: a tenant's prefix comes first."""
        return self.topic_prefix + name

    def shown(self) -> dict[str, str]:
        """The settings for people: passwords in URLs are masked."""
        return {name: masked(str(getattr(self, name) or "")) for name in SETTINGS}

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables, for a child process."""
        values = {name: getattr(self, name) for name in SETTINGS}
        return {f"WEIR_{name.upper()}": str(value) for name, value in values.items() if value}


def load(
    flags: Mapping[str, str | None], environ: Mapping[str, str] = os.environ, file: Path = Path("weir.toml")
) -> Config:
    """The Config that flags, the environment and a file give, in this order of strength.

    Raises ConfigError for an unknown setting, a file that is not TOML, or a broker that Weir does not speak.
    """
    given = _from_file(file) | _from_environment(environ) | {k: v for k, v in flags.items() if v}
    directory = Path(given.get("dir", ".weir")).expanduser().resolve()
    broker = given.get("broker", f"embedded://{directory}/log")
    if not broker.startswith(("embedded://", "kafka://")):
        raise ConfigError(f"the broker {masked(broker)!r} is neither embedded://DIR nor kafka://HOST:PORT")
    return Config(
        dir=directory,
        broker=broker,
        redis=given.get("redis"),
        database=given.get("database", f"sqlite:///{directory}/weir.db"),
        profile=given.get("profile", "payments"),
        topic_prefix=given.get("topic_prefix", ""),
        model=given.get("model"),
        accept_gap=given.get("accept_gap", "").lower() in YES,
    )


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    named = {name: environ.get(f"WEIR_{name.upper()}") for name in SETTINGS}
    return {name: value for name, value in named.items() if value}


def _from_file(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        read = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    unknown = sorted(set(read) - set(SETTINGS))
    if unknown:
        raise ConfigError(
            f"{file} names unknown settings: {', '.join(unknown)}; known are {', '.join(SETTINGS)}"
        )
    return {name: str(value) for name, value in read.items()}


def masked(url: str) -> str:
    """A URL without its password.

    >>> masked("redis://user:secret@host:6379/0")
    'redis://user:***@host:6379/0'
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{address}"))
