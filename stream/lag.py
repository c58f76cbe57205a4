"""How far behind the readers of the log are."""

from __future__ import annotations

from collections.abc import Mapping

Offsets = Mapping[tuple[str, int], int]
"""(topic, partition) -> offset."""


def waiting(ends: Offsets, starts: Offsets, committed: Offsets) -> dict[tuple[str, int], int]:
    """By topic and partition: records that a group has still to read; those that are deleted wait for nobody.

    >>> waiting({("t", 0): 10, ("t", 1): 7}, {("t", 0): 2, ("t", 1): 0}, {("t", 1): 7})
    {('t', 0): 8, ('t', 1): 0}
    """
    return {tp: end - max(committed.get(tp, 0), starts.get(tp, 0)) for tp, end in ends.items()}
