"""Named places at which a test may end a worker: WEIR_CRASH_AT="score.applied:3:KILL" is the third pass by that one.

Without that variable a pass costs a tenth of a microsecond. Nothing here is for a user.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from functools import cache

VARIABLE = "WEIR_CRASH_AT"
"""Holds POINT:PASS:SIGNAL; STOP is a signal too, and somebody else must send SIGCONT."""

POINTS = (
    "score.taken",  # a chunk is in hand, its features are not written
    "score.applied",  # they are
    "score.answered",  # it is scored, nothing is produced
    "score.sent",  # its outputs are durable, it is not done
    "score.kept",  # nor is it where what a network carries is stored too
    "record.taken",
    "record.written",  # in the SQL transaction, before its commit
    "record.committed",
    "learn.taken",
    "learn.learned",  # in memory
    "learn.written",  # in the checkpoint's transaction, before its commit
    "learn.committed",  # its snapshot is not on the log
    "learn.published",
    "commit.begun",  # of offsets, in any role
    "commit.ended",
)
"""All of them, in the order of a chunk's way."""

_passes: Counter[str] = Counter()


def reached(point: str) -> None:
    """Go past a point, and no further if this is where the test wants an end."""
    if plan := _plan():
        _pass(plan, point)


@cache
def _plan() -> str:
    return os.environ.get(VARIABLE, "")


def _pass(plan: str, point: str) -> None:
    _passes[point] += 1
    name, number, kind = plan.split(":")
    if point == name and _passes[point] == int(number):
        os.kill(os.getpid(), signal.Signals[f"SIG{kind}"])
