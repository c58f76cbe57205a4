"""Child processes that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


NICE = 10
"""Of what runs beside decisions: they come first."""


def lower() -> None:
    """In a child before exec: let others come first, and end with the parent."""
    os.nice(NICE)
    die_with_parent()


def die_with_parent() -> None:
    """In a child before exec: ask Linux for SIGTERM when the parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
