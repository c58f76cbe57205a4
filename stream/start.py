"""From where a worker reads each partition: the lower of what its group committed and what its own state holds.

A store or a database may lose what it had acknowledged (a crash, a failover, somebody's FLUSHALL, a backup that was
restored); what it lost is read again. And a log lets go of old records: where those are needed still, the worker says
so and does not start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from stream.codec import arrival_or_log_us
from stream.records import TP, Record

logger = logging.getLogger(__name__)

MEND = "set WEIR_ACCEPT_GAP=1 for one start to go on without them"


class LogExpired(Exception):
    """The log has let go of records that are needed still: which ones, for what, and what to do."""


class LogShort(LogExpired):
    """The log ends before what was made of it: it lost its end, or is another log."""


class Keeper(NamedTuple):
    """What holds a role's state, in words."""

    name: str
    lost: str  # what comes of a gap in it
    mend: str


STORE = Keeper(
    "the feature store", "windows would lack what lies between", "Bring back a copy of the store's data"
)
DATABASE = Keeper(
    "the database",
    "what lies between would never be recorded or learned",
    "Bring back a newer copy of the database (`weir restore`)",
)


class Starts(dict[TP, int]):
    """The offset from which each partition is read."""

    done: Mapping[TP, tuple[int, int]]  # what its group has committed, and what the role's own state holds


class Start:
    """The rule by which a role's consumer finds its place, at its start and whenever its partitions change."""

    def __init__(
        self,
        *,
        held: Callable[[], Mapping[TP, int]] | None = None,
        keeper: Keeper = STORE,
        need_us: int = 0,
        record_at: Callable[[TP, int], Record | None] | None = None,
        accept_gap: bool = False,
    ) -> None:
        """`held` tells how far the role's own state holds each partition; None: it rests on the commits alone.

        State needs records that arrived at most `need_us` before the next one; `record_at` finds one of the log.
        With `accept_gap` records that are gone are only logged.
        """
        self._held = held
        self._keeper = keeper
        self._need_us = need_us
        self._record_at = record_at
        self._accept_gap = accept_gap

    def offsets(self, committed: Mapping[TP, int], oldest: Mapping[TP, int]) -> Starts:
        """The offset from which each partition is read, which may lie before its oldest record.

        `committed` has 0 for a partition of which nothing was ever committed: it is read from its beginning, whatever
        that is by now. Raises LogExpired, and what `held` raises.
        """
        held = self._held() if self._held else committed
        for tp, commit in committed.items():
            self._check(tp, commit, held.get(tp, 0), oldest[tp])
        starts = Starts({tp: min(commit, held.get(tp, 0)) for tp, commit in committed.items()})
        starts.done = {tp: (commit, held.get(tp, 0)) for tp, commit in committed.items()}
        for tp, start in starts.items():
            if start < committed[tp] and not held.get(tp, 0):
                logger.warning(
                    "%s: %s knows nothing of it, so all of it is read again", _named(tp), self._keeper.name
                )
            elif start < committed[tp]:
                logger.warning(
                    "%s: %s holds it up to %d, not up to %d, so it is read again from there",
                    *(_named(tp), self._keeper.name, start, committed[tp]),
                )
        return starts

    def overtaken(self, tp: TP, position: int, oldest: int) -> None:
        """The log begins at `oldest` by now, and this worker has read up to `position`. Raises LogExpired."""
        self._gap(
            f"{_named(tp)}: the records from offset {position} up to {oldest} left the log before this worker had read "
            f"them: it is slower than its retention; {MEND}"
        )

    def refuse_another_log(self, starts: Starts, ends: Mapping[TP, int]) -> None:
        """Raise LogShort where the log ends before what `offsets` found to be done.

        What comes next there would get offsets that stand for other records: some would be taken for known ones. `ends`,
        the offsets that the next records will get, must have been asked for after `offsets`: others go on meanwhile.
        """
        for tp, (commit, held) in starts.done.items():
            if max(commit, held) <= ends[tp]:
                continue
            who = "this group has committed" if commit > held else f"{self._keeper.name} holds it"
            raise LogShort(
                f"{_named(tp)}: the log ends at offset {ends[tp]}, but {who} up to {max(commit, held)}: it has lost its "
                "end, or is another log than the one that this state was made from. Bring back that log; or begin "
                "anew, with another WEIR_TOPIC_PREFIX (its own topics, features and groups) and another database"
            )

    def _check(self, tp: TP, commit: int, held: int, oldest: int) -> None:
        undecided = commit or held
        if 0 < undecided < oldest:
            self._gap(
                f"{_named(tp)}: the records from offset {undecided} up to {oldest} left the log unread; {MEND}"
            )
        elif held < min(commit, oldest) and not self._harmless(tp, commit, oldest):
            self._gap(
                f"{_named(tp)}: {self._keeper.name} has lost what it held from offset {held} on, and the log, from which "
                f"it would be made again, begins at {oldest}: {self._keeper.lost}. {self._keeper.mend}, or {MEND}"
            )

    def _gap(self, trouble: str) -> None:
        if not self._accept_gap:
            raise LogExpired(trouble)
        logger.error("accepted, as WEIR_ACCEPT_GAP says (unset it now): %s", trouble)

    def _harmless(self, tp: TP, commit: int, oldest: int) -> bool:
        """Whether what is gone is older than what anything yet to be decided can need.

        That is the first undecided record, or any that comes after the newest one.
        """
        if self._record_at is None:
            return False
        first = self._record_at(tp, oldest)
        following = self._record_at(tp, commit) or self._record_at(tp, commit - 1)
        if first is None or following is None:
            return False
        return arrival_or_log_us(first) <= arrival_or_log_us(following) - self._need_us


def _named(tp: TP) -> str:
    return f"{tp.topic}[{tp.partition}]"
