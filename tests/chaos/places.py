"""Where runs take place: the servers that several of them share, each started when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Self

from tests.chaos.fault import Fault
from tests.chaos.oracle import Oracle
from tests.chaos.stage import Stage
from tests.chaos.story import Arrival


class NotHere(Exception):
    """A server that this machine does not offer: which, and how to offer it."""


class Places:
    """Makes stages."""

    def __init__(self) -> None:
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @contextmanager
    def stage(
        self, fault: Fault, place: Path, oracle: Oracle, arrivals: Sequence[Arrival], chance: Random
    ) -> Iterator[Stage]:
        """A stage as a fault needs it; everything on it ends with the block."""
        stage = Stage(place, oracle, arrivals, chance)
        try:
            yield stage
        finally:
            stage.close()
