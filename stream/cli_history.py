"""Commands on history: ``weir replay`` and ``weir send``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from features.grammar import duration_us
from features.mapping import FORMATS
from features.profile import Profile
from features.profile import load as load_profile
from stream import bootstrap, report
from stream.broker import progress_for, publisher_for
from stream.cli import config_of, config_options
from stream.config import Config, ConfigError
from stream.files import EventFile
from stream.progress import tracking
from stream.rates import NOTHING_CONVERTED, converter, outgoing, rates_of
from stream.reading_along import replayed
from stream.send import InStep, Sent, send
from stream.topics import RATES as RATES_TOPIC

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, writable=True, path_type=Path)
DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


class Duration(click.ParamType):
    """Such as 7d, 12h or 30m; arrives in microseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        """Microseconds, or a usage error that shows how to write it."""
        if isinstance(value, int):
            return value
        try:
            return duration_us(value)
        except ValueError as error:
            self.fail(str(error), param, context)


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    group.add_command(replay)
    group.add_command(send_file)


def history_options(command: Any) -> Any:
    """The flags that say which part of a file, and how late its labels come."""
    for option in (
        click.option("--until", type=DAY, help="events before this time only (UTC)"),
        click.option("--from", "from_", type=DAY, help="events from this time on (UTC)"),
        click.option(
            "--label-delay", type=Duration(), default="7d", show_default=True, help="labels arrive so late"
        ),
    ):
        command = option(command)
    return command


RATES = click.option(
    "--rates",
    type=FILE,
    help="rates of exchange: parquet, csv or jsonl with currency, to, rate, at, and arrived if later",
)


@click.command("replay")
@click.argument("file", type=FILE)
@history_options
@RATES
@click.option("--scores", type=OUT, help="write event_id, score, outcome, model_version to this parquet file")
@click.option("--decisions", type=OUT, help="write every decision record to this jsonl file")
@click.option("--save-model", type=OUT, help="write the last snapshot to this file, to pin it later")
@click.option("--plot", type=OUT, help="draw precision-recall and calibration to this png")
@click.option("--json", "as_json", is_flag=True, help="the report as JSON")
@config_options
def replay(
    file: Path,
    label_delay: int,
    from_: datetime | None,
    until: datetime | None,
    rates: Path | None,
    scores: Path | None,
    decisions: Path | None,
    save_model: Path | None,
    plot: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Run FILE through the same pipeline as the live stream, its labels arriving as late as they did."""
    config = config_of(given)
    profile = bootstrap.profile_of(config)
    events = EventFile(
        file,
        profile,
        label_delay_us=label_delay,
        from_us=us_of(from_),
        until_us=us_of(until),
        converted=converter(profile, rates),
    )
    run = replayed(config, profile, scores=scores, decisions=decisions)
    with run, tracking("replay", events.total, silent=as_json) as tracker:
        for batch in events.events():
            run.feed(batch)
            tracker.at(events.done, run.note())
    if save_model:
        save_model.write_bytes(run.snapshot().encode())
    if plot:
        report.plot(run, plot)
    click.echo(msgspec.json.format(report.as_json(run)).decode() if as_json else report.as_text(run))


@click.command("send")
@click.argument("file", type=FILE, required=False)
@history_options
@RATES
@click.option("--rate", type=float, help="at most so many events a second")
@click.option(
    "--in-step",
    type=Duration(),
    help="after so much of its time wait until all is decided, recorded and learned",
)
@click.option(
    "--format",
    "written",
    type=click.Choice(FORMATS),
    default="json",
    show_default=True,
    help="how events are written; avro: with the newest schema of their topic in WEIR_SCHEMA_REGISTRY",
)
@click.option("--json", "as_json", is_flag=True, help="what was sent, as JSON")
@config_options
def send_file(
    file: Path | None,
    label_delay: int,
    from_: datetime | None,
    until: datetime | None,
    rates: Path | None,
    rate: float | None,
    in_step: int | None,
    written: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Send the events of FILE, and their labels, into the stream on history's own clock; rates of exchange before them.

    Without FILE rates are those of today: one arrives when it is sent, unless its field `arrived` says otherwise.
    """
    config = config_of(given)
    profile = load_profile(config.profile)
    told = _send_rates(rates, config, profile, history=file is not None) if rates else 0
    if file is None:
        if rates is None:
            raise click.UsageError("name a FILE of events, or --rates")
        click.echo(_sent(Sent(told), config, as_json))
        return
    events = EventFile(
        file,
        profile,
        label_delay_us=label_delay,
        from_us=us_of(from_),
        until_us=us_of(until),
        encode=bootstrap.event_encoder(config, profile, written),
    )
    publisher = publisher_for(config.broker, config.kafka)
    step = InStep(progress_for(config.broker, config.kafka), config, in_step) if in_step else None
    try:
        with tracking("send", events.total, silent=as_json) as tracker:
            sent = send(
                events, publisher, config, rate=rate, in_step=step, told=lambda _: tracker.at(events.done)
            )
    finally:
        publisher.close()
    sent.rates = told
    click.echo(_sent(sent, config, as_json))


def _send_rates(file: Path, config: Config, profile: Profile, *, history: bool) -> int:
    """Send all rates of a file, once all of it was read; gives how many."""
    if not profile.converts:
        raise ConfigError(NOTHING_CONVERTED)
    out = [
        outgoing(rate, on_its_own_clock=history or told) for rate, told in rates_of(file, profile.timezone)
    ]
    publisher = publisher_for(config.broker, config.kafka)
    try:
        publisher.publish(config.topic(RATES_TOPIC), out)
    finally:
        publisher.close()
    return len(out)


def _sent(sent: Sent, config: Config, as_json: bool) -> str:
    rates = {"rates": sent.rates} if sent.rates else {}
    if as_json:
        return msgspec.json.encode({"events": sent.events, "labels": sent.labels, **rates}).decode()
    first = f"{sent.rates:,} rates, " if rates else ""
    return f"sent {first}{sent.events:,} events and {sent.labels:,} labels to {config.shown()['broker']}"


def us_of(when: datetime | None) -> int | None:
    """A time of a flag, which is in UTC, in microseconds since 1970."""
    return None if when is None else int(when.replace(tzinfo=UTC).timestamp()) * 1_000_000
