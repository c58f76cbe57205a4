"""``weir train``: a network that reads each card's events in order, from history or from what was decided."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from features.sequence_settings import ARCHITECTURES
from stream.cli import config_of, config_options
from stream.cli_history import FILE, RATES, history_options, us_of
from stream.progress import tracking


def register(group: click.Group) -> None:
    """Add this command to `weir`."""
    group.add_command(train)


@click.command("train")
@click.argument("file", type=FILE, required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="the folder for the network and the report",
)
@history_options
@RATES
@click.option("--architecture", type=click.Choice(ARCHITECTURES), help="another one than the profile's")
@click.option("--epochs", type=click.IntRange(1, 10_000), help="read every card's life at most so often")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="another seed, another network"
)
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda where there is a GPU")
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="of the CPU; a wide network gains"
)
@click.option(
    "--resume", is_flag=True, help="go on with the training that was ended in --out, if there is one"
)
@click.option("--json", "as_json", is_flag=True, help="what was found, as JSON")
@config_options
def train(
    file: Path | None,
    out: Path,
    label_delay: int,
    from_: datetime | None,
    until: datetime | None,
    rates: Path | None,
    architecture: str | None,
    epochs: int | None,
    seed: int,
    device: str,
    threads: int,
    resume: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train the network of the profile's table [sequence] on FILE, or on the decisions that were recorded here.

    It learns from what had arrived by --until (else by the last event's arrival): the earlier part of it. The later part, which
    it does not learn from, says when to end, how well it does, and what its scores mean. --label-delay tells how late the labels
    of a FILE arrive; those of recorded decisions are known to the microsecond.
    """
    from models.training import Machine, Recipe
    from stream import bootstrap, training_report
    from stream.train import Run, begun, settings_of, shape_of
    from stream.training_rows import history, rows_of_file, rows_of_ledger

    config = config_of(given)
    profile = bootstrap.profile_of(config)
    settings = settings_of(profile)
    until_us = us_of(until)
    if until_us is None and resume:
        until_us = begun(out)
    if file is None:
        if from_ is not None:
            raise click.UsageError("--from is for a FILE: of recorded decisions all before --until are read")
        if rates is not None:
            raise click.UsageError(
                "--rates is for a FILE: recorded decisions were converted when they were made"
            )
        with tracking("read", None, silent=as_json) as tracker:
            gathered = rows_of_ledger(config, profile, settings, until_us, tracker.at)
    else:
        events = history(file, profile, label_delay, us_of(from_), until_us, rates)
        with tracking("read", events.total, silent=as_json) as tracker:
            gathered = rows_of_file(config, profile, settings, events, until_us, tracker.at)
    recipe = Recipe(seed=seed, epochs=epochs or Recipe().epochs)
    shape, machine = shape_of(settings, architecture), Machine(device=device, threads=threads)
    run = Run(profile, gathered, shape, recipe, machine, out, resume=resume)
    if resume and not as_json:
        what = "going on where it ended" if run.resumed else "nothing was begun here, so training begins"
        click.echo(f"weir: {what}", err=True)
    with tracking("train", run.total, silent=as_json) as tracker:
        outcome = run.run(tracker.at, training_report.write_page)
    if as_json:
        click.echo(msgspec.json.format(training_report.as_json(outcome)).decode())
        return
    click.echo("\n".join(training_report.lines(outcome)))
