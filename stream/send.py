"""A file's events and labels into the stream, in the order in which they arrived."""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.config import Config
from stream.decisions import DECISIONS, LABELS, TRANSACTIONS
from stream.files import EventFile, Parcel
from stream.records import ARRIVED, Progress, Publisher

LOOK_SECONDS = 0.02
STUCK_SECONDS = 120.0
"""Without any progress for so long, no worker can be running."""


class NobodyWorks(Exception):
    """What was sent is not dealt with."""


class InStep:
    """Lets the sender wait, once in a while of the stream's time, until all that was sent is dealt with.

    A history sent as fast as it goes is decided with models that are hours of it old; in step, with fresh ones.
    """

    def __init__(self, progress: Progress, config: Config, every_us: int) -> None:
        """Wait after every `every_us` of the stream's time."""
        self._progress = progress
        self._every_us = every_us
        self._next_us = 0
        group, topic = f"{config.topic_prefix}weir-{{}}".format, config.topic
        self._readers = [
            (group("score"), topic(TRANSACTIONS)),
            (group("score"), topic(LABELS)),
            (group("record"), topic(DECISIONS)),
            (group("learn"), topic(DECISIONS)),
        ]

    def after(self, parcel: Parcel) -> None:
        """Wait if it is time to; raises NobodyWorks when nothing moves for STUCK_SECONDS."""
        if not parcel.events:
            return
        now_us = int(dict(parcel.events[-1].headers)[ARRIVED])
        if now_us >= self._next_us:
            self._next_us = now_us + self._every_us
            for group, topic in self._readers:
                self._wait(group, topic)

    def _wait(self, group: str, topic: str) -> None:
        before, since = None, time.monotonic()
        while (committed := self._progress.committed(group, topic)) != (
            ends := self._progress.end_offsets(topic)
        ):
            if committed != before:
                before, since = committed, time.monotonic()
            if time.monotonic() - since > STUCK_SECONDS:
                raise NobodyWorks(
                    f"{group} has not moved on {topic} for {STUCK_SECONDS:g} s (it is at {committed} of {ends}): "
                    "is `weir up`, or a worker of that role, running?"
                )
            time.sleep(LOOK_SECONDS)


class Sent:
    """What went out so far."""

    def __init__(self, rates: int = 0) -> None:
        """Nothing yet but rates."""
        self.rates = rates
        self.events = 0
        self.labels = 0


def send(
    file: EventFile,
    publisher: Publisher,
    config: Config,
    *,
    rate: float | None = None,
    in_step: InStep | None = None,
    told: Callable[[Sent], None] = lambda sent: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Sent:
    """Publish the whole file, at most `rate` events a second; every parcel is durable before the next is sent.

    `told` hears of every parcel; `in_step` waits for those who work on them. Raises FileError for a broken file, and
    what the publisher raises.
    """
    sent = Sent()
    started = time.monotonic()
    for parcel in file.records():
        if parcel.labels:
            publisher.publish(config.topic(LABELS), parcel.labels)
        if parcel.events:
            publisher.publish(config.topic(TRANSACTIONS), parcel.events)
        sent.labels += len(parcel.labels)
        sent.events += len(parcel.events)
        told(sent)
        if in_step:
            in_step.after(parcel)
        if rate:
            sleep(max(0.0, started + sent.events / rate - time.monotonic()))
    return sent
