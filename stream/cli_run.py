"""Commands that run things: ``weir up``, ``weir worker``, ``weir review``, ``weir simulate``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from features.profile import load as load_profile
from stream import bootstrap
from stream.broker import publisher_for
from stream.cli import config_of, config_options, fail, metrics_options
from stream.config import SOCKET, Config
from stream.up import Part, Supervisor, hold_directory

ROLES = ("score", "learn", "record")


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    for command in (up, worker, review, simulate):
        group.add_command(command)


@click.command("up")
@click.option("--demo", is_flag=True, help="with the simulator's payments, fraud among them")
@click.option(
    "--port", type=int, help="the review page's port (default 8765, or a free one if that is taken)"
)
@metrics_options
@config_options
def up(demo: bool, port: int | None, **given: Any) -> None:
    """Run everything on this machine, on the embedded log; stop it with Ctrl-C."""
    config = config_of(given)
    load_profile(config.profile)
    lock = hold_directory(config.dir)
    logs = config.dir / "logs"
    logs.mkdir(exist_ok=True)
    bootstrap.prepare(config)
    with lock, bootstrap.own_redis(config) as (served, tend):
        parts = [
            _part(name, arguments, served, logs)
            for name, arguments in _commands(demo, port, config.metrics_port)
        ]
        supervisor = Supervisor(parts, say=lambda line: click.echo(f"{_clock()} {line}"))
        supervisor.stop_on_signals()
        click.echo(f"{_clock()} starting Weir in {config.dir} (profile {config.profile}); logs in {logs}")
        supervisor.start()
        supervisor.run(_Greeter(config, tend))
    click.echo(f"{_clock()} stopped; `weir up` goes on where this ended")


def _commands(demo: bool, port: int | None, metrics_port: int | None) -> list[tuple[str, list[str]]]:
    """The workers tell their metrics to the review process, on unix sockets; it tells all of them."""
    review_port = ["--port", str(port)] if port else []
    if metrics_port is not None:
        review_port += ["--metrics-port", str(metrics_port)]
    parts = [(role, ["worker", "--role", role, "--metrics-port", SOCKET]) for role in ROLES]
    parts.append(("review", ["review", *review_port]))
    if demo:
        parts.append(("simulator", ["simulate"]))
    return parts


def _part(name: str, arguments: list[str], config: Config, logs: Path) -> Part:
    return Part(name, arguments, config.environment(), logs / f"{name}.log")


def _clock() -> str:
    return time.strftime("%H:%M:%S")


class _Greeter:
    """Says where the queue is, once the review process has written it down, and what became of our own servers."""

    def __init__(self, config: Config, tend: bootstrap.Tending) -> None:
        self._tend = tend
        self._file = bootstrap.address_file(config)
        self._file.unlink(missing_ok=True)
        self._told = ""

    def __call__(self) -> None:
        address = self._file.read_text().strip() if self._file.exists() else ""
        if address and address != self._told:
            click.echo(f"{_clock()} the review queue: {address}")
            self._told = address
        if line := self._tend():
            click.echo(f"{_clock()} {line}")


@click.command("worker")
@click.option("--role", type=click.Choice(ROLES), required=True, help="what this process does")
@metrics_options
@config_options
def worker(role: str, **given: Any) -> None:
    """Run one role of the stream until SIGTERM."""
    from stream import app

    config = config_of(given)
    bootstrap.prepare(config)
    bootstrap.check_log(config, role)
    app.run(role, config)


@click.command("review")
@click.option(
    "--port", type=int, default=None, help="listen here (default 8765, or a free port if that is taken)"
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="listen at this address: for a container whose port is published on its machine's loopback only",
)
@metrics_options
@config_options
def review(port: int | None, host: str, **given: Any) -> None:
    """Serve the analysts' review queue on this machine."""
    config = config_of(given)
    bootstrap.prepare(config)
    bootstrap.review(config, port, host)


@click.command("simulate")
@click.option("--seed", type=int, default=1, show_default=True, help="another seed, another story")
@click.option(
    "--burst-days", type=int, default=20, show_default=True, help="simulated days that go out at once, first"
)
@click.option(
    "--day-seconds", type=float, default=20.0, show_default=True, help="then a simulated day takes so long"
)
@click.option("--days", type=int, help="stop after so many simulated days")
@config_options
def simulate(seed: int, burst_days: int, day_seconds: float, days: int | None, **given: Any) -> None:
    """Send simulated payments with known fraud, and labels that arrive late, into the stream."""
    from stream.simulate.generator import Settings
    from stream.simulate.run import Tempo, run, stop_on_signals

    config = config_of(given)
    if day_seconds <= 0:
        fail("--day-seconds must be more than 0")
    bootstrap.prepare(config)
    stop = stop_on_signals()
    publisher = publisher_for(config.broker, config.kafka)
    try:
        tempo = Tempo(burst_days=burst_days, day_seconds=day_seconds, days=days)
        sent = run(
            publisher, config.dir / "simulator.json", stop, Settings(seed=seed), tempo, config.topic_prefix
        )
    finally:
        publisher.close()
    click.echo(f"sent {sent:,} records")
