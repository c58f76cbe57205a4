"""How long the database takes, and whether it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url

from stream.review.database import driven

ANSWER_WITHIN_S = 2
STARTED = "weir_statement_began"


def time_statements(took: Callable[[float], None]) -> None:
    """Tell `took` the seconds of every statement of this process; one for many rows counts once."""

    def begin(db: Connection, *_: Any) -> None:
        db.info[STARTED] = time.perf_counter()

    def end(db: Connection, *_: Any) -> None:
        took(time.perf_counter() - db.info[STARTED])

    event.listen(Engine, "before_cursor_execute", begin)
    event.listen(Engine, "after_cursor_execute", end)


class Asking:
    """Asks a database whether it is there, on a connection of its own."""

    def __init__(self, url: str) -> None:
        """It is asked at each call."""
        parsed = driven(make_url(url))
        patience = {"connect_timeout": ANSWER_WITHIN_S} if parsed.get_backend_name() != "sqlite" else {}
        self._engine = create_engine(parsed, connect_args=patience, pool_pre_ping=True, pool_size=1)

    def __call__(self) -> list[Any]:
        """Nothing; raises what SQLAlchemy raises where there is no answer."""
        with self._engine.connect() as db:
            db.execute(text("SELECT 1"))
        return []
