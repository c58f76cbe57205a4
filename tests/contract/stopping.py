"""Stop a worker again and again, in the middle of its chunks, on whichever log, and see what came out."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from stream.marks import IN_FLIGHT
from tests.contract.chunked_app import GROUP

PATIENCE = 90.0
"""How long something that must happen may take on a busy machine."""

SOURCES = ("a", "b")


class Feed(Protocol):
    """A log as these tests see it."""

    url: str

    def append(self, topic: str, values: Sequence[bytes]) -> None:
        """Append values; their keys are theirs."""

    def read(self, topic: str) -> Mapping[tuple[str, int], Sequence[tuple[int, bytes, dict[str, bytes]]]]:
        """By partition, in order: offset, value and headers of all records."""

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """As stream.records.Progress has it."""

    def end_offsets(self, topic: str) -> Mapping[int, int]:
        """As stream.records.Progress has it."""


def start(url: str, datadir: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the worker; what it says goes to a file beside its directory."""
    command = [sys.executable, "-m", "tests.contract.chunked_app", url, str(datadir), *arguments]
    with datadir.with_suffix(".out").open("a") as output:
        return subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdout=output, stderr=subprocess.STDOUT, text=True
        )


def eventually(condition: Callable[[], Any], what: str, pause: float = 0.01) -> Any:
    """Wait for a condition and give its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"it did not happen in {PATIENCE:g} s: {what}"
        time.sleep(pause)
    return value


def forwarded(feed: Feed) -> list[tuple[str, bytes]]:
    """What lies in `out`, in order: source and value."""
    everything = [record for records in feed.read("out").values() for record in records]
    return [(headers["from"].decode(), value) for _, value, headers in everything]


def all_committed(feed: Feed) -> bool:
    """Whether the group has committed all there is."""
    return all(feed.committed(GROUP, topic) == feed.end_offsets(topic) for topic in SOURCES)


def nothing_is_committed_that_did_not_come_out(feed: Feed) -> None:
    """The rule of the commit, seen from outside; workers may go on meanwhile."""
    committed = {topic: feed.committed(GROUP, topic) for topic in SOURCES}
    out = set(forwarded(feed))
    for topic in SOURCES:
        for (_, part), records in feed.read(topic).items():
            end = committed[topic][part]
            lost = [value for offset, value, _ in records if offset < end and (topic, value) not in out]
            assert not lost, f"{topic}[{part}] is committed to {end}, but these are lost: {lost[:5]}"


def stop_again_and_again(feed: Feed, datadir: Path, number: signal.Signals, stops: int) -> int:
    """Start and stop the worker, then let it finish; gives how many stops found it at work."""
    chance = random.Random()
    found_at_work = 0
    for _ in range(stops):
        before = sum(feed.end_offsets("out").values())
        worker = start(feed.url, datadir)
        eventually(lambda: sum(feed.end_offsets("out").values()) > before or all_committed(feed), "it works")  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.2))
        found_at_work += not all_committed(feed)
        worker.send_signal(number)
        status = worker.wait(PATIENCE)
        assert status == (0 if number == signal.SIGTERM else -number)
        nothing_is_committed_that_did_not_come_out(feed)
    worker = start(feed.url, datadir)
    eventually(lambda: all_committed(feed), "the rest is done", pause=0.1)
    worker.terminate()
    assert worker.wait(PATIENCE) in (
        0,
        -signal.SIGTERM,
    )  # the latter while it still starts: all was done before
    return found_at_work


def one_topic_before_the_other(feed: Feed, datadir: Path) -> None:
    """What is held back stays in the log, and comes whole and in its order when it is wanted; nothing else waits for it."""
    count, size = 12_000, 500
    for at in range(0, count, size):
        for topic in SOURCES:
            feed.append(topic, [b"%d" % number for number in range(at, at + size)])
    worker = start(feed.url, datadir, "--first", str(count))
    try:
        eventually(lambda: all_committed(feed), "all is done", pause=0.1)
    finally:
        worker.kill()
        worker.wait()
    out = first_of_each(forwarded(feed))
    for topic in SOURCES:
        assert [int(value) for source, value in out if source == topic] == list(range(count))
    before = out.index(("a", b"%d" % (count - 1))) + 1 - count
    assert before <= IN_FLIGHT + 2 * size, f"{before} records of b came before the last of a"


def first_of_each(values: Sequence[Any]) -> list[Any]:
    """The order in which values first came."""
    return list(dict.fromkeys(values))
