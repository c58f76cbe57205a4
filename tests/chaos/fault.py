"""The list of faults: each a function that breaks things on a stage while the load goes on, and returns what it did."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.stage import Stage

Break = Callable[[Stage], str]

EMBEDDED, KAFKA, CLUSTER, LOSSY = "embedded", "kafka", "cluster", "lossy"
"""The logs: our own, a broker, three of them, and one behind a network that loses answers."""


class Fault(NamedTuple):
    """What is broken, and on what it is tried."""

    name: str
    what: str
    run: Break
    on: str = EMBEDDED
    partitions: int = 1
    postgres: bool = False
    judged: bool = True  # whether all that came must be decided in the end
    short: bool = False  # one of the few that every build runs


FAULTS: dict[str, Fault] = {}


def fault(**settings: object) -> Callable[[Break], Break]:
    """Put a function on the list, under its own name; the first sentence of its docstring says what it breaks."""

    def listed(run: Break) -> Break:
        name = run.__name__.replace("_", "-")
        FAULTS[name] = Fault(name, (run.__doc__ or "").strip().partition("\n")[0], run, **settings)
        return run

    return listed
