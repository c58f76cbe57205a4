"""The Faust app: one per role, its agents at most fifteen lines: take a batch, call the role, emit, done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import faust

from stream import bootstrap, watching
from stream.agents import guarded, in_thread, keep_attempts, make_app, outlet_for, serve, start_by
from stream.attempts import Attempts
from stream.chunks import all_done, batches, chunks, hold_back, records_of
from stream.config import Config
from stream.conveyor import Conveyor
from stream.crash_points import reached
from stream.decisions import ALERTS, DEAD_LABELS, DEAD_TRANSACTIONS, DECISIONS, LABELS, TRANSACTIONS
from stream.marks import Chunk
from stream.review.learning import LEARNER
from stream.review.ledger import RECORDER
from stream.sensor import attach
from stream.watch import UNWATCHED, RoleWatch

CHECKPOINT_SECONDS = 5.0
"""The learner keeps what it learned at least so often."""

IDLE_SECONDS = 0.3
"""... and when nothing came for so long."""

HELD_RECORDS = 20_000
"""... and when it took in so many records."""

RECORDED = 4_000
"""So many records are enough for a transaction of the recorder's. While it commits, as many may come in: where it is behind,
a commit is of so many, and each page of the database is written for more of them."""

T = TypeVar("T")


def run(role: str, config: Config) -> None:
    """Run a role until SIGTERM or SIGINT; a fault that nothing expected ends the process with status CRASHED."""
    with watching.role(role, config) as watch:
        app, closing = {"score": score_app, "learn": learn_app, "record": record_app}[role](config, watch)
        asyncio.run(serve(app))
        closing()


def role_app(role: str, config: Config, watch: RoleWatch | None) -> faust.App:
    """The Faust app of one role: one consumer group."""
    app = make_app(bootstrap.group_of(config, role), config.broker, config.dir / "faust", config.kafka)
    if watch is not None:
        attach(app, watch)
    keep_attempts(app, Attempts(config.dir / "attempts", app.conf.id))
    return app


def score_app(config: Config, watch: RoleWatch | None = None) -> tuple[faust.App, Callable[[], None]]:
    """Transactions and labels in; decisions, alerts and dead letters out."""
    app = role_app("score", config, watch)
    role, closing = bootstrap.score_role(config)
    watching.score(watch, role, config)
    conveyor = Conveyor(role, outlet_for(app, config.topic_prefix), watch or UNWATCHED)
    start_by(app, bootstrap.score_start(config, role))

    @app.agent(app.topic(config.topic(TRANSACTIONS), config.topic(LABELS)))
    @guarded
    async def score(stream: Any) -> None:
        async for batch in batches(stream):
            await conveyor.take(batch)

    return app, closing


def record_app(config: Config, watch: RoleWatch | None = None) -> tuple[faust.App, Callable[[], None]]:
    """Decisions, alerts, labels and dead letters in; SQL rows out."""
    app = role_app("record", config, watch)
    start_by(app, bootstrap.sql_start(config, RECORDER))
    recorder, closing = bootstrap.recorder(config)
    watching.on_sql(watch, recorder.readings, config)
    seen = watch or UNWATCHED
    worker = ThreadPoolExecutor(1, "record")
    names = (DECISIONS, ALERTS, LABELS, DEAD_TRANSACTIONS, DEAD_LABELS)

    @app.agent(app.topic(*map(config.topic, names)))
    @guarded
    async def record(stream: Any) -> None:
        async for batch in batches(stream, RECORDED):
            reached("record.taken")
            passing = seen.passage(*[chunk.records for chunk in batch])
            with passing.stage("record"):
                await in_thread(recorder.record, records_of(batch), batch[0].condemned, executor=worker)
            reached("record.committed")
            all_done(batch)
            passing.done()

    return app, closing


def learn_app(config: Config, watch: RoleWatch | None = None) -> tuple[faust.App, Callable[[], None]]:
    """Decisions and labels in; numbered snapshots out. A chunk is done when a checkpoint holds it."""
    app = role_app("learn", config, watch)
    start_by(app, bootstrap.sql_start(config, LEARNER))
    with watching.standing_by(watch):
        role, closing = bootstrap.learn_role(config)
    watching.on_sql(watch, role.readings, config)
    seen = watch or UNWATCHED
    worker = ThreadPoolExecutor(1, "learn")
    held: list[Chunk] = []
    labels = config.topic(LABELS)

    async def checkpoint() -> None:
        await in_thread(role.retry, executor=worker)
        await in_thread(role.checkpoint, executor=worker)
        reached("learn.published")
        for chunk in held:
            if role.settled(chunk.tp, chunk.last):
                chunk.done()
        held[:] = [chunk for chunk in held if not chunk.is_done]

    @app.agent(app.topic(config.topic(DECISIONS), labels))
    @guarded
    async def learn(stream: Any) -> None:
        pace = Pace()
        async for chunk in ticking(chunks(stream), IDLE_SECONDS):
            if chunk is not None:
                reached("learn.taken")
                passing = seen.passage(chunk.records)
                with passing.stage("learn"):
                    await in_thread(role.run, chunk.records, chunk.condemned, executor=worker)
                passing.done()
                reached("learn.learned")
                held.append(chunk)
                pace.took(len(chunk.records))
                chunk.let_go()  # what waits for a checkpoint is a place in the log, and no megabytes
            hold_back(app.consumer, labels, role.crowded)
            if held and (chunk is None or chunk.suspected or role.due or pace.due):
                await checkpoint()
                pace = Pace()
            elif chunk is None and role.waiting and pace.due:
                await checkpoint()  # what the recorder wrote meanwhile, though nothing comes
                pace = Pace()
            elif chunk is None:
                await in_thread(role.tend, executor=worker)

    return app, closing


class Pace:
    """When the next checkpoint is due, by the clock or by what came since the last."""

    def __init__(self) -> None:
        """A checkpoint was made just now."""
        self._at = asyncio.get_running_loop().time() + CHECKPOINT_SECONDS
        self._records = 0

    def took(self, records: int) -> None:
        """So many records were taken in."""
        self._records += records

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._records >= HELD_RECORDS or asyncio.get_running_loop().time() >= self._at


async def ticking(items: AsyncIterator[T], seconds: float) -> AsyncIterator[T | None]:
    """The items, and None whenever none came for so long. No item is lost when one comes in that moment."""
    pending: asyncio.Task[T] | None = None
    while True:
        if pending is None:
            pending = asyncio.ensure_future(anext(items))
        done, _ = await asyncio.wait({pending}, timeout=seconds)
        if not done:
            yield None
            continue
        try:
            item = pending.result()
        except StopAsyncIteration:
            return
        pending = None
        yield item
