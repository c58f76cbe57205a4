"""What may be gone a moment later, and what is told to people where it is not: for every store in Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from features.store import StoreUnavailable

logger = logging.getLogger(__name__)

PATIENCE_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Waits between attempts: a server that restarts is back within them."""

PASSING = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError)
"""What may be gone a moment later: lost connections, restarts, failovers."""

MOVING = (AskError, TryAgainError, ClusterDownError, MasterDownError, RedisClusterException)
"""The same of a cluster: slots that are moved or were (MovedError is an AskError), nodes that are being replaced."""

T = TypeVar("T")


class Patience:
    """Asks a server again where its trouble may pass, and raises StoreUnavailable where it did not."""

    def __init__(self, url: str, took: Callable[[float], None]) -> None:
        """`took` is told how long each answer took, in seconds."""
        self._url, self._took = url, took
        self._ill = False

    def __call__(self, ask: Callable[[], T]) -> T:
        """What `ask` gives in the end."""
        began = time.perf_counter()
        told = self._asked(ask)
        self._took(time.perf_counter() - began)
        return told

    def _asked(self, ask: Callable[[], T]) -> T:
        for wait in (*PATIENCE_S, None):
            try:
                told = ask()
            except (AuthenticationError, NoPermissionError) as error:  # the first is a ConnectionError too
                raise StoreUnavailable(_refused(self._url, error)) from error
            except (*PASSING, *MOVING) as error:
                self._wait(wait, error)
            except OutOfMemoryError as error:
                raise StoreUnavailable(
                    f"the Redis at {shown(self._url)} is full: give it more memory (maxmemory)"
                ) from error
            except ResponseError:
                raise
            except RedisError as error:
                raise StoreUnavailable(f"the Redis at {shown(self._url)} does not work: {error}") from error
            else:
                self._well()
                return told
        raise AssertionError("unreachable")

    def _wait(self, seconds: float | None, error: Exception) -> None:
        """Wait before the next attempt; None: there is none."""
        trouble = _trouble(shown(self._url), error)
        if seconds is None:
            raise StoreUnavailable(trouble) from error
        if not self._ill:
            logger.warning("%s; trying again for some %.0f s", trouble, sum(PATIENCE_S))
        self._ill = True
        time.sleep(seconds)

    def _well(self) -> None:
        if self._ill:
            logger.warning("the Redis at %s answers again", shown(self._url))
        self._ill = False


def _trouble(where: str, error: Exception) -> str:
    if isinstance(error, ReadOnlyError):
        return f"the Redis at {where} takes no writes (it is a replica?): {error}"
    if isinstance(error, AskError | TryAgainError):
        return f"the Redis Cluster at {where} is moving a slot that features lie in: {error}"
    if isinstance(error, MOVING):
        return f"the Redis Cluster at {where} is not whole: {error}"
    return f"no answer from the Redis at {where}: {error}"


def _refused(url: str, error: Exception) -> str:
    if isinstance(error, NoPermissionError):
        return (
            f"the Redis at {shown(url)} does not allow its user what Weir does: {error}. "
            "It needs +@read +@write +@scripting +@connection +info, on the keys ~*weir:*"
        )
    return f"the Redis at {shown(url)} refused the login: {error}. See WEIR_REDIS (user) and WEIR_REDIS_PASSWORD_FILE"


def shown(url: str) -> str:
    """A URL without its user and password."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
