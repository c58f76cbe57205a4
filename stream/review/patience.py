"""Asking a database again: for a moment it may be away, or have broken off what was going on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits between attempts: a server that restarts is back within them."""

HEALING = ("08", "40", "57P", "53300", "SQLITE_BUSY", "SQLITE_LOCKED")
"""How the databases' codes begin where the next attempt may succeed: the connection is lost, the transaction gave way to
another (a deadlock), the server stops or starts, too many are connected; an error without a code is of the connection."""


def patiently(ask: Callable[[], T], what: str) -> T:
    """What `ask` gives, which runs in a transaction of its own; an error that may heal is tried again for some seconds."""
    for wait in PATIENCE_S:
        try:
            return ask()
        except OperationalError as error:
            if not _may_heal(error):
                raise
            logger.warning("%s: %s; trying again", what, reason_of(error))
            time.sleep(wait)
    return ask()


def reason_of(error: DBAPIError) -> str:
    """The first line of what the database says."""
    return str(error.orig).strip().partition("\n")[0]


def _may_heal(error: OperationalError) -> bool:
    code = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    return code is None or code.startswith(HEALING)
