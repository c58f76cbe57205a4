"""``weir prime``: fills the profile's generation of features beside the live one, up to the end of the log, and swaps it in.

From a file of history first, if one is named, then from the log behind it. Killed at any point it goes on where it was.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from features.compute import Plan
from features.generations import Generation, Live
from features.profile import Profile
from features.redis_generations import RedisLive, generation_of
from features.store import FeatureStore
from stream import bootstrap
from stream.broker import progress_for, reader_for
from stream.codec import Codec
from stream.config import Config
from stream.decisions import LABELS, TRANSACTIONS
from stream.extents import extents
from stream.files import EventFile
from stream.filling import HISTORY, Filler, Open, fill_from_log, held_of
from stream.filling_history import fill_from_file, name_of
from stream.progress import tracking
from stream.rates import Rates
from stream.records import TP
from stream.start import Keeper, Start

NEAR = 1_000
"""Records behind the end of the log that are as good as none: more come while these are read."""

AGAIN_SECONDS = 5.0
"""Who fills says so again after this time."""

WAIT_SECONDS = 1.0

GENERATION = Keeper(
    "the new generation",
    "windows would lack what lies between",
    "Give it the history before (`weir prime FILE`)",
)

Say = Callable[[str], None]


class PrimeError(Exception):
    """A generation that cannot be filled so: why, and what to do."""


class Primed(msgspec.Struct, frozen=True):
    """What was done."""

    generation: str  # FORMAT:VERSION
    rows: int  # of the file that were read
    records: int  # of the log that were applied
    seconds: float
    live: bool  # whether it is the live one now


class History(NamedTuple):
    """A file of past events, and what its content and the way it is read are known by."""

    file: EventFile
    name: str


class Parts(NamedTuple):
    """What filling needs."""

    generation: Generation
    store: FeatureStore
    codec: Codec
    live: Live
    open_log: Open


def history(
    path: Path,
    profile: Profile,
    label_delay_us: int,
    from_us: int | None,
    until_us: int | None,
    rates: Rates | None = None,
) -> History:
    """A file to begin with, converted by the `rates` that stand on the log now; raises FileError, and what the log raises."""
    if rates is not None:
        rates.catch_up()
        rates.close()
    file = EventFile(
        path,
        profile,
        label_delay_us=label_delay_us,
        from_us=from_us,
        until_us=until_us,
        converted=rates.converted if rates is not None else None,
    )
    return History(file, name_of(path, label_delay_us, from_us, until_us))


@contextmanager
def parts(config: Config, profile: Profile) -> Iterator[Parts]:
    """While the block runs: the profile's generation, and what fills it."""
    url, closing = bootstrap.redis_for(config)
    live = RedisLive(url, bootstrap.store_name(config))
    store, close = bootstrap.features(config, profile)
    rates = bootstrap.rates_for(config, profile)
    try:
        yield Parts(
            generation_of(profile),
            store,
            bootstrap.codec_of(config, profile, rates),
            live,
            lambda positions: reader_for(config.broker, positions, config.kafka),
        )
    finally:
        if rates:
            rates.close()
        close()
        live.close()
        closing()


def prime(
    config: Config, profile: Profile, past: History | None, *, swap: bool, silent: bool, say: Say
) -> Primed:
    """Fill the profile's generation, and make it the live one if it is to be swapped in.

    Raises PrimeError, and what the file, the log and the store raise.
    """
    began = time.monotonic()
    with parts(config, profile) as using, _alone(using, say) as again:
        rows = _from_file(using, past, again, silent) if past else 0
        records = _from_log(config, using, past is not None, again, silent)
        if swap:
            using.live.swap(using.generation)
        live = using.live.read() == using.generation
        return Primed(str(using.generation), rows, records, time.monotonic() - began, live)


@contextmanager
def _alone(using: Parts, say: Say) -> Iterator[Callable[[], None]]:
    """While the block runs nobody else fills this generation, as long as what this gives is called now and then."""
    holder = f"{os.getpid()}@{socket.gethostname()}"
    live, generation = using.live, using.generation
    if not live.hold(generation, holder):
        say(
            f"another process fills the generation {generation}; waiting until it is done, or dead for some seconds"
        )
        while not live.hold(generation, holder):
            time.sleep(WAIT_SECONDS)
    said = time.monotonic()

    def again() -> None:
        nonlocal said
        if time.monotonic() - said > AGAIN_SECONDS:
            said = time.monotonic()
            live.hold(generation, holder)

    try:
        yield again
    finally:
        live.let_go(generation, holder)


# --- from a file


def _from_file(using: Parts, past: History, again: Callable[[], None], silent: bool) -> int:
    """Apply what the generation does not hold of a file; gives the rows that were read."""
    positions = using.store.positions()
    held = positions.get((HISTORY + past.name, 0), 0)
    if not held and any(positions.values()):
        raise PrimeError(
            f"the generation {using.generation} holds events already, and history comes first: what was decided since does "
            "not change any more. Prime before the first worker runs, or a profile whose features differ"
        )
    with tracking("history", past.file.total, silent=silent) as tracker, Filler(using.store) as filler:

        def told(rows: int) -> None:
            again()
            tracker.at(rows)

        fill_from_file(filler, past.file, past.name, held, told)
    return past.file.done


# --- from the log


def _from_log(
    config: Config, using: Parts, after_history: bool, again: Callable[[], None], silent: bool
) -> int:
    """Apply the log up to its end, or near to it where more comes all the time; gives the number of records."""
    done = 0
    with Filler(using.store) as filler:
        while True:
            starts, held, ends = _places(config, using, after_history)
            behind = sum(end - starts[tp] for tp, end in ends.items())
            with tracking("log", behind, silent=silent or behind <= NEAR) as tracker:
                came = 0

                def told(count: int) -> None:
                    nonlocal came
                    again()
                    came += count
                    tracker.at(came)

                fill_from_log(filler, using.codec, using.open_log, starts, held, ends, told, beyond=True)
            done += came
            if behind <= NEAR:
                return done


def _places(
    config: Config, using: Parts, after_history: bool
) -> tuple[Mapping[TP, int], Mapping[TP, int], Mapping[TP, int]]:
    """By partition: from where its log is read, how far it is held, and its end. Raises LogExpired for a gap that matters."""
    found = extents(config, (TRANSACTIONS, LABELS))
    oldest, ends = ({tp: place[at] for tp, place in found.items()} for at in (0, 1))
    held = held_of(using.store, found)
    rule = Start(
        held=lambda: held,
        keeper=GENERATION,
        need_us=Plan(using.generation.features).need_us,
        record_at=progress_for(config.broker, config.kafka).record_at if found else None,
        accept_gap=config.accept_gap or after_history,
    )
    starts = rule.offsets(ends, oldest)
    rule.refuse_another_log(starts, ends)
    return {tp: max(at, oldest[tp]) for tp, at in starts.items()}, held, ends
