"""Commands about features: what they mean, and whether what was logged is what the log gives: ``weir features``."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from features.catalogue import RECENT, SECOND_US, Feature, Kind
from features.events import to_datetime
from features.grammar import UNITS, duration_words
from features.profile import Profile
from features.profile import load as load_profile
from stream.audit import Example, Report, Tally, differing, looks_back_us
from stream.cli import config_of, config_options
from stream.cli_generations import generations
from stream.config import Config

if TYPE_CHECKING:
    from stream.filled import Filled

logger = logging.getLogger(__name__)

DURATIONS = ("d", "h", "m", "s")

UNSETTLED = (
    "values of labels differ where the log does not tell which labels the store had applied by then (several partitions of "
    "labels, or a log whose beginning is gone): not counted as differing"
)


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    group.add_command(features)
    features.add_command(generations)


@click.group("features")
def features() -> None:
    """What is known of an event when it is scored."""


@features.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def features_list(as_json: bool, **given: Any) -> None:
    """Every feature of the profile in words, how far it looks back, and how far it is filled where it is not live yet.

    With --json its entity and its hash too. A model reads features by name and hash: one whose hash changes is
    another feature.
    """
    config = config_of(given)
    profile = load_profile(config.profile)
    warming = _warming(config, profile)
    if as_json:
        told: dict[str, object] = {
            "profile": profile.name,
            "version": profile.features_version,
            "features": [_plain(each, profile) for each in profile.features.features],
        }
        if warming is not None:
            told["warming"] = warming._asdict()
        click.echo(msgspec.json.encode(told).decode())
        return
    table = Table(_whole("feature"), "in words", _whole("looks back"), box=SIMPLE, pad_edge=False)
    for each in profile.features.features:
        table.add_row(*map(escape, (each.name, each.words, _looks_back(each))))
    console = Console()
    console.print(table)
    console.print(
        f"{len(profile.features.features)} features of the profile {escape(profile.name)}, "
        f"version {profile.features_version}",
        highlight=False,
    )
    if warming is not None:
        console.print(str(warming), highlight=False)


def _warming(config: Config, profile: Profile) -> Filled | None:
    """How far the features are filled, if they are; what a Redis or a log that is away has to say is `weir doctor`'s."""
    from stream.filled import filled

    try:
        return filled(config, profile)
    except Exception as error:  # noqa: BLE001 - what features mean does not depend on it
        logger.warning("whether they are live is not known: %s", error)
        return None


def _whole(header: str) -> Column:
    """A column whose texts stay in one piece: they are to be copied."""
    return Column(header, no_wrap=True)


def _plain(feature: Feature, profile: Profile) -> dict[str, object]:
    return {
        "name": feature.name,
        "words": feature.words,
        "kind": feature.kind,
        "entity": feature.entity or None,
        "hash": profile.features.hashes[feature.name],
        "looks_back_us": looks_back_us(feature),
        "last": feature.last or None,
    }


def _looks_back(feature: Feature) -> str:
    """How far, for people."""
    if feature.kind in RECENT:
        return f"{feature.last} events"
    if feature.kind is Kind.SINCE_LAST:
        return "1 event"
    back_us = looks_back_us(feature)
    return "for ever" if back_us is None else span(back_us) if back_us else ""


def span(us: int) -> str:
    """A duration as a profile writes it, in words.

    >>> span(30 * 86_400_000_000), span(5_400_000_000)
    ('30 days', '90 minutes')
    """
    seconds = us // SECOND_US
    unit = next(each for each in DURATIONS if seconds % UNITS[each] == 0)
    words = duration_words(f"{seconds // UNITS[unit]}{unit}")
    return words if words[0].isdigit() else f"1 {words}"


@features.command("audit")
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="the share of decisions that are compared",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63), default=0, show_default=True, help="another seed, another sample"
)
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def features_audit(sample: float, seed: int, as_json: bool, **given: Any) -> None:
    """Recompute the features of logged decisions from the log, and compare them bit for bit.

    Changes nothing. Exit status 1 if a feature differs, or nothing could be compared.
    """
    from stream.auditing import audit

    report = audit(config_of(given), share=sample, seed=seed, silent=as_json)
    if as_json:
        click.echo(msgspec.json.encode(_plain_report(report)).decode())
    else:
        _show(report)
    sys.exit(0 if report.well else 1)


def _plain_report(report: Report) -> dict[str, object]:
    plain = msgspec.structs.asdict(report)
    since = {name: us if us is None else _when(us) for name, us in report.since._asdict().items()}
    return {
        "well": report.well,
        **plain,
        "since": since,
        "features": list(map(_plain_tally, report.features)),
    }


def _plain_tally(tally: Tally) -> dict[str, object]:
    plain = msgspec.structs.asdict(tally)
    del plain["from_us"]
    return {**plain, "compared_from": _from(tally)}


def _from(tally: Tally) -> str:
    if math.isinf(tally.from_us):
        return "beginning" if tally.from_us < 0 else "never"
    return _when(int(tally.from_us))


def _when(us: int) -> str:
    return to_datetime(us).isoformat(timespec="seconds")


def _show(report: Report) -> None:
    console = Console()
    table = Table(_whole("feature"), "compared", "differing", "for example")
    for each in report.features:
        style = "red" if each.differing else None
        table.add_row(
            escape(each.name),
            f"{each.compared:,}",
            f"{each.differing:,}",
            _example(each.example),
            style=style,
        )
    console.print(table)
    for line in remarks(report):
        console.print(escape(line), highlight=False, soft_wrap=True)


def _example(example: Example | None) -> str:
    if example is None:
        return ""
    return escape(f"{example.event_id}: logged {example.logged}, recomputed {example.recomputed}")


def remarks(report: Report) -> Iterator[str]:
    """What an audit found, in sentences; what did not occur is left out."""
    yield f"{report.decisions:,} decisions and {report.labels:,} labels on the log; {report.sampled:,} decisions compared"
    for count, what in (
        (report.foreign, "decided with other features than this profile's: not compared"),
        (report.late, "came late, changed no state, and are not compared"),
        (report.gone, "without their event on the log: not compared, and what they counted for is missing"),
        (report.undecided, "events without a decision: they wait for the scorer, or their decision is gone"),
        (report.repeated, "records of an event that was decided before"),
        (report.dead_letters, "records that are dead letters"),
        (report.unreadable, "records of decisions that cannot be read"),
        (
            report.shared,
            "numbers that two events have: the store lost what it had applied, and gave them again",
        ),
        (report.unclaimed, "numbers that nothing on the log has: what took them is missing"),
        (
            sum(each.forgotten for each in report.features),
            "values of people who were forgotten since: not compared",
        ),
        (sum(each.unsettled for each in report.features), UNSETTLED),
    ):
        if count:
            yield f"{count:,} {what}"
    yield from _beginning(report)
    yield _verdict(report)


def _beginning(report: Report) -> Iterator[str]:
    """From when on an audit can be believed."""
    for topic, us in report.since._asdict().items():
        if us is not None:
            yield f"the oldest {topic} are gone: the log is whole from {_when(us)} on"
    if any(report.since):
        starts = sorted({each.from_us for each in report.features} - {-math.inf, math.inf})
        told = (
            f"from {_when(int(starts[0]))} on, all of these from {_when(int(starts[-1]))} on"
            if starts
            else "not at all"
        )
        never = [each.name for each in report.features if each.from_us == math.inf]
        yield f"features with a window are compared {told}"
        if never:
            yield f"never compared then, since any event before counts: {', '.join(never)}"


def _verdict(report: Report) -> str:
    if report.differing:
        names = ", ".join(each.name for each in differing(report))
        return f"{report.differing:,} of {report.sampled:,} decisions differ, in {names}"
    return "nothing differs" if report.compared else "nothing could be compared"
