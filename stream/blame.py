"""Of what a worker died: of the records it had in hand, or of what surrounds it, which is well again some day."""

from __future__ import annotations

import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]

SURROUNDINGS: frozenset[str] = frozenset(
    {
        "builtins.OSError",
        "builtins.MemoryError",
        "aiokafka.errors.KafkaError",
        "features.store.StoreBehind",
        "features.store.StoreUnavailable",
        "kafka.errors.KafkaError",
        "redis.exceptions.RedisError",
        "sqlalchemy.exc.InterfaceError",
        "sqlalchemy.exc.InternalError",  # a database that takes no writes
        "sqlalchemy.exc.OperationalError",
        "stream.embedded.log.LogError",
        "stream.kafka.BrokerError",
        "stream.registry.RegistryUnavailable",
        "stream.review.database.LedgerError",
        "stream.start.LogExpired",
    }
)
"""Errors of servers, disks and networks, and all that derive from them."""

OF_RECORDS: frozenset[str] = frozenset({"aiokafka.errors.MessageSizeTooLargeError"})
"""Those among them that say something of what was sent."""

OF_A_SCRIPT = "script"
"""Redis names it where the store's own script broke off: that is what it was given."""


def is_the_records(error: BaseException) -> bool:
    """Whether an error may come of the records that were in hand."""
    names = {f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__}
    if names & OF_RECORDS:
        return True
    if "redis.exceptions.ResponseError" in names:
        return OF_A_SCRIPT in str(error)
    return not names & SURROUNDINGS


def told(error: BaseException) -> str:
    """An error's kind and its place in our code; not its words, which may quote what is personal."""
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT) and "site-packages" not in frame.filename
    ]
    where = f" in {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{where}"
