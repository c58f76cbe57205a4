"""Starts the real processes on the embedded default, in a directory of their own, and reads what they did."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil

from stream.embedded.log import Log
from stream.records import TP, Outgoing

PATIENCE = 60.0
"""How long something that must happen may take on a busy machine."""


def weir(*arguments, directory, **environment):
    """Run a command to its end and give what it printed; a failure shows its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", *map(str, arguments)],
        env=env(directory, **environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )
    assert done.returncode == 0, f"weir {' '.join(map(str, arguments))}: {done.stderr[-3000:]}"
    return done.stdout


def start(*arguments, directory, **environment):
    """Start a command that goes on; its output goes to a file of its name in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    name = "-".join(argument for argument in map(str, arguments) if not argument.startswith("/"))
    output = (directory / f"{name}.out").open("ab")
    return psutil.Popen(
        [sys.executable, "-m", "stream", *map(str, arguments)],
        env=env(directory, **environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def env(directory, **more):
    """The environment of a child: nothing of the tester's own Weir, everything in the directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    root = str(Path(__file__).parents[2])
    return {**kept, "PYTHONPATH": root, "WEIR_DIR": str(directory), "PYTHONUNBUFFERED": "1", **more}


def stop(process, number=signal.SIGTERM, seconds=10.0):
    """Send a signal and wait; gives the seconds it took."""
    began = time.monotonic()
    if process.is_running():
        process.send_signal(number)
    process.wait(seconds)
    return time.monotonic() - began


def eventually(condition, what, seconds=PATIENCE, pause=0.1):
    """Wait for a condition and give its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"it did not happen in {seconds:g} s: {what}"
        time.sleep(pause)


def log_of(directory):
    """The embedded log of a directory."""
    return Log(Path(directory) / "log")


def values(directory, topic):
    """All values of a topic, in order."""
    return [record.value for record in log_of(directory).fetch({TP(topic, 0): 0}, 10_000_000)]


def rows(directory, topic):
    """All JSON records of a topic."""
    return [msgspec.json.decode(value) for value in values(directory, topic)]


def first_by_id(decisions):
    """The decisions as readers count them: the first of each id; the clock field left out."""
    first = {}
    for row in decisions:
        first.setdefault(row["event_id"], row)
    return {event_id: without_clock(row) for event_id, row in first.items()}


def without_clock(row):
    """A decision less what differs each time: when it was made, and what is encrypted."""
    return {name: value for name, value in row.items() if name not in ("decided_at", "sealed")}


def append(directory, topic, *records):
    """Append JSON values (or raw bytes) as somebody else's producer would."""
    out = [
        Outgoing(b"k", value if isinstance(value, bytes) else msgspec.json.encode(value), tuple(headers))
        for value, headers in records
    ]
    log_of(directory).append(topic, out)


def children_of(process):
    """All processes below one."""
    return process.children(recursive=True)


def link_in(text):
    """The link to the queue in what `weir up` printed."""
    found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", text)
    return found.group(0) if found else None
