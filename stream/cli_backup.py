"""Commands that keep and bring back what Weir knows: ``weir backup``, ``weir restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from stream.cli import config_of, config_options
from stream.sealing import KEY_FILE

PARTS = ("sql", "redis", "log", "keys")


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    for command in (backup, restore, snapshot):
        group.add_command(command)


@click.command("backup")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--keys", is_flag=True, help="with the secret keys, without which the backup is of no use")
@click.option("--json", "as_json", is_flag=True, help="as JSON: the manifest")
@config_options
def backup(folder: Path, keys: bool, as_json: bool, **given: Any) -> None:
    """Copy SQL, Redis and the embedded log to FOLDER while everything runs, and read the copy again.

    Kafka's log is not copied: from it a restored Weir catches up. The keys (WEIR_DIR/keys) are secret, and are copied
    only with --keys: keep them elsewhere than the backups.
    """
    from stream.backup import back_up

    config = config_of(given)
    manifest = back_up(config, folder, keys=keys, say=_say)
    if as_json:
        click.echo(msgspec.json.encode(manifest).decode())
        return
    size = sum(each.bytes for each in manifest.files.values())
    click.echo(f"{folder}: {', '.join(manifest.parts)}; {size:,} bytes, read again and whole")
    if keys:
        click.echo(f"it holds the secret keys: whoever reads {folder / 'keys'} can open what is sealed")
    else:
        click.echo(
            f"the keys are not in it: without {config.seal_key_file or config.dir / KEY_FILE} (key {manifest.key_id}) "
            "it is of no use. Keep a copy of that file elsewhere"
        )


@click.command("restore")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="this part alone (repeatable)")
@click.option("--replace", is_flag=True, help="lose what is there now")
@click.option("--json", "as_json", is_flag=True, help="as JSON: what each role reads again")
@config_options
def restore(folder: Path, parts: tuple[str, ...], replace: bool, as_json: bool, **given: Any) -> None:
    """Put the backup in FOLDER back, all of it or some parts, while no worker runs.

    What happened since is read again from the log when the workers start. Where the log has let that go, or is another
    one, nothing is written.
    """
    from stream.restore import restore as put_back

    behind = put_back(config_of(given), folder, parts, replace=replace, say=_say)
    if as_json:
        click.echo(msgspec.json.encode([each._asdict() for each in behind]).decode())
        return
    click.echo(f"{folder} is in place")
    for each in behind:
        if each.records:
            click.echo(f"{each.role} will read {each.records:,} records of {each.place} again")


@click.command("snapshot")
@config_options
def snapshot(**given: Any) -> None:
    """Copy the feature store alone to WEIR_DIR/snapshots while everything runs; the newest two stay.

    Where Redis has lost everything a score worker that starts puts the newest back, and reads the log from there. With
    WEIR_SNAPSHOT_EVERY=15m the score worker takes one so often.
    """
    from stream.snapshots import take

    file = take(config_of(given))
    click.echo(f"{file}: {file.stat().st_size:,} bytes")


def _say(line: str) -> None:
    click.echo(f"weir: {line}", err=True)
