"""Where in an answer's integers what is kept of an entity stands."""

from __future__ import annotations

import msgspec

from features.folds import NEVER
from features.parts import Part
from features.windows import NO_RUN, Shape


class EntityPlan(msgspec.Struct, frozen=True):
    """What is kept of one part of an entity, and where its answers stand in raw: of its events, of its labels, the error."""

    part: Part
    index: int  # of the entity among Transaction.entities
    start: int
    events: Shape | None  # None: no feature looks at its events
    labels: Shape | None

    @property
    def last(self) -> int:
        """Where raw holds the time of the event before (NEVER: none); behind it the first, where it is asked for."""
        return self.start + (self.events.width if self.events else 0)

    @property
    def said(self) -> int:
        """Where raw holds what the labels say."""
        return self.recent + (2 * self.events.recent if self.events else 0)

    @property
    def recent(self) -> int:
        """Where raw holds the records before the event."""
        return self.place + (2 * (self.events.place >= 0) if self.events else 0)

    @property
    def place(self) -> int:
        """Where raw holds the place of the event before, where it is asked for."""
        return self.last + (1 + self.events.first if self.events else 0)

    @property
    def absent(self) -> list[int]:
        """What is answered of an event that does not name the entity."""
        told = []
        if self.events is not None:
            told = [0] * (self.said - self.start)
            starts, fields = self.events.at_starts, self.events.at_fields
            told[starts:fields] = [NEVER] * (fields - starts)
            told[self.last - self.start : self.recent - self.start] = [NEVER] * (self.recent - self.last)
            told[self.recent - self.start :] = [NEVER, 0] * self.events.recent
        return [*told, *self.unsaid, 0]

    @property
    def unsaid(self) -> list[int]:
        """What the labels say where there are none."""
        if self.labels is None:
            return []
        return [
            *[0] * self.labels.at_runs,
            *(NO_RUN if self.labels.runs else ()),
            *[NEVER] * self.labels.frauds,
        ]

    @property
    def error(self) -> int:
        """Where raw holds how uncertain a count is beyond the bound of records, in millionths."""
        return self.said + (self.labels.width if self.labels else 0)

    @property
    def width(self) -> int:
        """How many integers it answers."""
        return self.error + 1 - self.start
