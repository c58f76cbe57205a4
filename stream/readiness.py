"""What must hold before a worker may read from Kafka: its topics are there, with the partitions they had, and open to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stream.decisions import ALERTS, DEAD_LABELS, DEAD_TRANSACTIONS, DECISIONS, LABELS, TRANSACTIONS
from stream.topics import MODELS, RATES

READS: Mapping[str, tuple[str, ...]] = {
    "score": (TRANSACTIONS, LABELS),
    "learn": (DECISIONS, LABELS),
    "record": (DECISIONS, ALERTS, LABELS, DEAD_TRANSACTIONS, DEAD_LABELS),
}
"""By role: the topics it reads with its group."""

FOLLOWS: Mapping[str, tuple[str, ...]] = {"score": (MODELS,), "learn": (MODELS,), "record": ()}
"""By role: the topics it reads from their beginning at every start, without a group."""

WRITES: Mapping[str, tuple[str, ...]] = {
    "score": (DECISIONS, ALERTS, DEAD_TRANSACTIONS, DEAD_LABELS),
    "learn": (MODELS,),
    "record": (),
}
"""By role: the topics it cannot do without writing."""


class NotReady(Exception):
    """A worker may not start: why, and what to do."""


def refuse_missing(names: Iterable[str], found: Iterable[str]) -> None:
    """Raise NotReady where topics are not there (or hidden from this user)."""
    absent = sorted(set(names) - set(found))
    if absent:
        raise NotReady(
            f"there is no topic {', '.join(absent)} on this Kafka, or its user may not see it (ACL: DESCRIBE): "
            "`weir topics create` makes what is missing"
        )


def needs(role: str, *, pinned: bool = False, converts: bool = False) -> list[tuple[str, str]]:
    """What a role must be allowed to do: (topic, operation). A scorer with a pinned model follows no models;
    one that converts follows rates.
    """
    followed = () if pinned and role == "score" else FOLLOWS[role]
    followed += (RATES,) if converts and role == "score" else ()
    return [
        *((name, "READ") for name in (*READS[role], *followed)),
        *((name, "WRITE") for name in WRITES[role]),
    ]


def refuse_forbidden(
    role: str,
    topics: Mapping[str, str],
    allowed: Mapping[str, Sequence[str] | None],
    user: str | None,
    *,
    pinned: bool = False,
    converts: bool = False,
) -> None:
    """Raise NotReady where a user may not do what a role must; `topics`: our name -> the name on the log.

    `allowed` holds the operations by topic; what a broker does not tell counts as allowed.
    """
    needed = [(topics[name], operation) for name, operation in needs(role, pinned=pinned, converts=converts)]
    refused = [
        f"{operation} {name}"
        for name, operation in needed
        if operation not in (allowed.get(name) or (operation,))
    ]
    if refused:
        raise NotReady(
            f"the Kafka user {user or '(none)'} lacks what the role {role} needs: {', '.join(refused)}. "
            "Its administrator can allow it (ACLs); nothing was read, so nothing is lost"
        )


def refuse_closed_group(group: str, allowed: Sequence[str] | None, user: str | None) -> None:
    """Raise NotReady where a user may not join a consumer group: aiokafka would ask for it without end, and in silence."""
    if allowed is not None and "READ" not in allowed:
        raise NotReady(
            f"the Kafka user {user or '(none)'} may not read with the group {group}. "
            "Its administrator can allow it (ACL: READ on the group); nothing was read, so nothing is lost"
        )


def refuse_moved(kept: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raise NotReady where a topic's number of partitions is not the one that the state was made with."""
    moved = [
        f"{name} has {found[name]}, the state was made with {kept[name]}"
        for name in sorted(found)
        if kept.get(name, found[name]) != found[name]
    ]
    if moved:
        raise NotReady(
            f"the number of partitions changed unprepared: {'; '.join(moved)}. Keys lie elsewhere now, so what waits of a "
            "card in its old partition could be decided after what is newer. `weir topics grow N` accepts the new number "
            "where nothing waits; with --anyway it accepts that what waits may come out of order"
        )
