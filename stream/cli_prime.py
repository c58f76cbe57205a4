"""``weir prime``: a new generation of features, filled beside the live one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from stream.cli import config_of, config_options
from stream.cli_history import FILE, history_options, us_of


def register(group: click.Group) -> None:
    """Add this command to `weir`."""
    group.add_command(prime)


@click.command("prime")
@click.argument("file", type=FILE, required=False)
@history_options
@click.option("--no-swap", is_flag=True, help="fill it, and leave the live features as they are")
@click.option("--json", "as_json", is_flag=True, help="what was done, as JSON")
@config_options
def prime(
    file: Path | None,
    label_delay: int,
    from_: datetime | None,
    until: datetime | None,
    no_swap: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Fill the features of the profile from FILE, if one is named, and from the log behind it; then they are live.

    Nothing is decided. Workers may run meanwhile: they go on with the features that they have. A run that was ended is gone
    on with by saying the same again.
    """
    from stream import bootstrap
    from stream.priming import Primed, history
    from stream.priming import prime as fill

    config = config_of(given)
    bootstrap.prepare(config)
    profile = bootstrap.profile_of(config)
    rates = bootstrap.rates_for(config, profile)
    past = history(file, profile, label_delay, us_of(from_), us_of(until), rates) if file else None
    done: Primed = fill(
        config,
        profile,
        past,
        swap=not no_swap,
        silent=as_json,
        say=lambda line: click.echo(f"weir: {line}", err=True),
    )
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
        return
    rate = (done.rows + done.records) / max(done.seconds, 1e-9)
    click.echo(
        f"the features {done.generation} of the profile {profile.name} hold {done.rows:,} rows of history and "
        f"{done.records:,} more records of the log ({rate:,.0f} a second), and are "
        f"{'live' if done.live else 'not live'}"
    )
