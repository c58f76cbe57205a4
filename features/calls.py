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


class Share(NamedTuple, Generic[Item]):
    """What of a run falls to one store: all of it, or the items that are told with their places in the run."""

    items: Sequence[Item]
    source: Source | None
    places: Sequence[int] | None = None


def calls_of(shares: Iterable[Share[Item]], size: int) -> list[Call[Item]]:
    """Calls of at most `size` items. Each follows the one before it: none goes through where that one was refused, or is lost.

    Where a call ends within a source that tells no offsets is counted: at most where it does. Only the last one ends there.

    >>> calls = calls_of([Share("abc", Source("t", 0, 10, 14)), Share("d", Source("t", 1, 5, 6))], 2)
    >>> [("".join(call.items), [(each.partition, each.before, each.after) for each in call.sources]) for call in calls]
    [('ab', [(0, 10, 12)]), ('cd', [(0, 12, 12), (0, 12, 14), (1, 5, 6)])]
    >>> [(each.before, each.after) for call in calls_of([Share("ad", Source("t", 0, 10, 14), [0, 3])], 1) for each in call.sources]
    [(10, 13), (13, 13), (13, 14)]
    """
    calls: list[Call[Item]] = [Call([], [], [])]
    for share in shares:
        items, source, places = share.items, share.source, share.places or range(len(share.items))
        begun = 0
        while begun < len(items) or (source is not None and not begun):
            call = calls[-1]
            if len(call.items) == size:
                last = [_behind(each) for each in call.sources[-1:]]
                calls.append(call := Call([], last, [0] * len(last)))
            ended = begun + max(1, min(len(items) - begun, size - len(call.items)))
            if source is not None:
                call.firsts.append(len(call.items))
                call.sources.append(_piece(source, places, begun, ended))
            call.items.extend(items[begun:ended])
            begun = ended
    return [call for call in calls if call.items or call.sources]


def _piece(source: Source, places: Sequence[int], begun: int, ended: int) -> Source:
    """The part of a source in which its items [begun, ended) lie."""
    before = source.before if not begun else _border(source, places[begun])
    after = source.after if ended >= len(places) else _border(source, places[ended])
    offsets = [source.offset_of(place) for place in places[begun:ended]]
    return source._replace(before=before, after=after, offsets=offsets)


def _border(source: Source, place: int) -> int:
    """Up to where the items before this one reach."""
    return source.offsets[place] if source.offsets else min(source.before + place, source.after)


def _behind(source: Source) -> Source:
    """The empty part behind a source: what comes with it is refused unless the source was applied."""
    return source._replace(before=source.after, offsets=())
