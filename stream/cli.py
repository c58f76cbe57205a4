"""The command line: ``weir`` speaks to people, and with ``--json`` to programs.

Exit status 0 only when a command did what was asked; what a person did wrong is told in one line, with the mend.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from stream.config import Config, ConfigError, load
from stream.secret import ScrubbingFormatter, print_scrubbed, scrubbed

logging.captureWarnings(True)

HELPED: tuple[str, ...] = (
    "features.located.ProfileError",
    "models.snapshot.SnapshotError",
    "models.checkpoint.CheckpointError",
    "models.codec.CodecError",
    "models.manifest.ArtifactError",
    "models.onnx_export.OnnxMissing",
    "models.periods.TrainingError",
    "features.store.StoreUnavailable",
    "stream.rows.FileError",
    "stream.backup_files.BackupError",
    "stream.up.AlreadyUp",
    "stream.embedded.log.GroupTaken",
    "stream.embedded.log.LogError",
    "stream.embedded.server.ServerError",
    "stream.envelope.Forgotten",
    "stream.sealing.SealError",
    "stream.send.NobodyWorks",
    "stream.simulate.run.SimulationChanged",
    "stream.gather.GatherError",
    "stream.kafka.BrokerError",
    "stream.model_keys.ModelKeyError",
    "stream.signing.SignatureError",
    "stream.signing.TooLarge",
    "stream.priming.PrimeError",
    "stream.probes.PortTaken",
    "stream.start.LogExpired",
    "stream.train.TrainError",
    "stream.start.LogShort",
    "stream.readiness.NotReady",
    "stream.registry.RegistryUnavailable",
    "stream.review.database.LedgerError",
    "stream.review.web.PortTaken",
)
"""Errors whose message is meant for the person who typed the command; any other is a fault of ours and keeps its traceback."""


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every command that touches state takes; they arrive as one Config."""
    for name, text in reversed(
        (
            ("--dir", "where the embedded state lies (default .weir)"),
            ("--broker", "embedded://DIR or kafka://HOST:PORT[,...]"),
            ("--redis", "a Redis URL (default: our own server in the directory)"),
            ("--database", "an SQLAlchemy URL (default: SQLite in the directory)"),
            ("--profile", "a shipped profile's name, or a TOML file (default payments)"),
            ("--topic-prefix", "put before every topic's name"),
            ("--model", "a snapshot file: decide with this one, pinned"),
            ("--network", "a folder of `weir train`: let this network read along; none: no network"),
            ("--seal-key-file", "the key of what is sealed (default: one in the directory)"),
        )
    ):
        command = click.option(name, help=text)(command)
    return command


def metrics_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of commands that others may watch; they arrive in the Config too."""
    command = click.option(
        "--metrics-host", help="... of this address (default 127.0.0.1; nothing asks for a token there)"
    )(command)
    return click.option(
        "--metrics-port", help="serve /metrics, /healthz and /readyz on this port (default: none; 0: any)"
    )(command)


def config_of(given: dict[str, Any]) -> Config:
    """Take the configuration flags out of a command's arguments."""
    names = ("dir", "broker", "redis", "database", "profile", "topic_prefix", "model", "network")
    watched = ("seal_key_file", "metrics_host", "metrics_port")
    return load({name: given.pop(name) for name in (*names, *watched) if name in given})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="weir")
def weir() -> None:
    """Catch fraud and anomalies in a stream while it flows, and learn from what analysts say."""


def register_all() -> None:
    """Give `weir` its commands."""
    from stream import (
        cli_backup,
        cli_doctor,
        cli_features,
        cli_fill,
        cli_forget,
        cli_history,
        cli_look,
        cli_models,
        cli_prime,
        cli_run,
        cli_topics,
        cli_train,
    )

    for module in (
        cli_run,
        cli_history,
        cli_look,
        cli_models,
        cli_topics,
        cli_doctor,
        cli_features,
        cli_fill,
        cli_forget,
        cli_backup,
        cli_prime,
        cli_train,
    ):
        module.register(weir)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    register_all()
    sys.excepthook = print_scrubbed
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ScrubbingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("WEIR_LOG", "WARNING").upper(), handlers=[handler])
    try:
        weir.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ConfigError as error:
        fail(str(error))
    except Exception as error:
        if f"{type(error).__module__}.{type(error).__qualname__}" not in HELPED:
            raise
        fail(str(error))
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """Say what went wrong and exit with status 1."""
    click.echo(f"weir: {scrubbed(message)}", err=True)
    sys.exit(1)
