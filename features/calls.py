"""How runs of events fall into calls of a store's script: few items a call, and none that overtakes another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from features.store import Source

Item = TypeVar("Item")


class Call(NamedTuple, Generic[Item]):
    """Items that are applied in one step, and the sources that they come from."""

    items: list[Item]
    sources: list[Source]  # each tells the offsets of its items
    firsts: list[int]  # which item is the first of each source


def calls_of(runs: Iterable[tuple[Sequence[Item], Source | None]], size: int) -> list[Call[Item]]:
    """Calls of at most `size` items. Each follows the one before it: none goes through where that one was refused, or is lost.

    Where a call ends within a source that tells no offsets is counted: at most where it does. Only the last one ends there.

    >>> calls = calls_of([("abc", Source("t", 0, 10, 14)), ("d", Source("t", 1, 5, 6))], 2)
    >>> [("".join(call.items), [(each.partition, each.before, each.after) for each in call.sources]) for call in calls]
    [('ab', [(0, 10, 12)]), ('cd', [(0, 12, 12), (0, 12, 14), (1, 5, 6)])]
    """
    calls: list[Call[Item]] = [Call([], [], [])]
    for items, source in runs:
        begun = 0
        while begun < len(items) or (source is not None and not begun):
            call = calls[-1]
            if len(call.items) == size:
                last = [_behind(each) for each in call.sources[-1:]]
                calls.append(call := Call([], last, [0] * len(last)))
            ended = begun + max(1, min(len(items) - begun, size - len(call.items)))
            if source is not None:
                call.firsts.append(len(call.items))
                call.sources.append(_piece(source, begun, min(ended, len(items)), ended >= len(items)))
            call.items.extend(items[begun:ended])
            begun = ended
    return [call for call in calls if call.items or call.sources]


def _piece(source: Source, begun: int, ended: int, last: bool) -> Source:
    """The part of a source in which its items [begun, ended) lie."""
    before = source.before if not begun else _border(source, begun)
    after = source.after if last else _border(source, ended)
    offsets = [source.offset_of(index) for index in range(begun, ended)]
    return source._replace(before=before, after=after, offsets=offsets)


def _border(source: Source, index: int) -> int:
    """Up to where the items before this one reach."""
    return source.offsets[index] if source.offsets else min(source.before + index, source.after)


def _behind(source: Source) -> Source:
    """The empty part behind a source: what comes with it is refused unless the source was applied."""
    return source._replace(before=source.after, offsets=())
