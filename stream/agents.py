"""What every Faust app of ours has in common: its settings, the guard around its agents, its way out, and how it runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import faust
from yarl import URL

from stream.attempts import Attempts
from stream.broker import directory_of
from stream.chunks import uncommitted
from stream.embedded.transport import log_of
from stream.records import Outgoing
from stream.secret import scrubbed
from stream.security import IN_THE_CLEAR, KafkaSecurity
from stream.start import Start

logger = logging.getLogger(__name__)

CRASHED = 70
"""Exit status after a fault that nothing expected (EX_SOFTWARE): nothing of the chunk in hand is committed."""

LEAVE_SECONDS = 3.0
"""How long a worker that was asked to stop while it starts may take to leave its group."""

END_SECONDS = 10.0
"""How long a worker that was asked to stop may take in all: a broker that is away for good would be waited for for ever."""

SETTINGS: Mapping[str, Any] = {
    "key_serializer": "raw",
    "value_serializer": "raw",
    "processing_guarantee": "at_least_once",
    "producer_acks": -1,
    "producer_max_batch_size": 900_000,  # below the broker's default limit of one megabyte
    "producer_max_request_size": 2_000_000,
    "producer_request_timeout": 30.0,  # a broker's restart fits in
    "broker_commit_interval": 0.2,  # what a kill repeats
    "broker_max_poll_records": 1_000,  # a chunk on Kafka
    "broker_session_timeout": 10.0,  # how long a killed member's partitions wait
    "stream_buffer_maxsize": 10_000,  # never reached: see stream.marks.IN_FLIGHT
    "stream_wait_empty": False,  # what is in hand at a stop is done again
    "topic_disable_leader": True,
    "topic_allow_declare": False,
    "web_enabled": False,
    "worker_redirect_stdouts": False,
}
"""At least once, delivered in chunks; no port opened, no table, no changelog, no topic of Faust's own."""

_last_words: list[Callable[[BaseException], None]] = []
"""Told of what the process dies, when it dies of a fault in an agent."""

T = TypeVar("T")
Agent = Callable[[Any], Awaitable[None]]


class Outlet(Protocol):
    """The way out for batches."""

    async def send(self, batches: Mapping[str, Sequence[Outgoing]]) -> None:
        """Send to several topics, each record to its key's partition; returns when all of it is durable."""
        ...


def make_app(name: str, broker: str, datadir: Path, security: KafkaSecurity = IN_THE_CLEAR) -> faust.App:
    """A Faust app, member of the consumer group `name`, on the log at the URL `broker`.

    `datadir` is where Faust wants a directory of its own; ours stays empty.
    """
    if not broker.startswith("kafka://"):
        path = str(directory_of(broker).resolve())
        return faust.App(
            name, broker=[URL.build(scheme="embedded", path=path)], datadir=str(datadir), **SETTINGS
        )
    from stream.kafka import Transport, credentials

    app = faust.App(
        name, broker=broker, datadir=str(datadir), broker_credentials=credentials(security), **SETTINGS
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    return app


def start_by(app: Any, rule: Start) -> None:
    """Let the app's consumer find its places in the log by this rule."""
    app.start_rule = rule


def keep_attempts(app: Any, attempts: Attempts) -> None:
    """Let what this process has in hand be known to its successor, and of what it died."""
    app.attempts = attempts
    _last_words.append(attempts.died)


def outlet_for(app: faust.App, prefix: str = "") -> Outlet:
    """The batch outlet that fits the app's log; `prefix` is put before every topic's name."""
    if app.conf.broker[0].scheme == "kafka":
        from stream.kafka import KafkaOutlet

        return KafkaOutlet(app, prefix)
    return LogOutlet(app, prefix)


class LogOutlet:
    """Appends to the embedded log that the app reads."""

    def __init__(self, app: faust.App, prefix: str = "") -> None:
        """`prefix` is put before every topic's name."""
        self._log = log_of(app)
        self._prefix = prefix

    async def send(self, batches: Mapping[str, Sequence[Outgoing]]) -> None:
        """One transaction for all topics."""
        named = {self._prefix + name: records for name, records in batches.items() if records}
        if named:
            await in_thread(self._log.append_many, named)


def guarded(agent: Agent) -> Agent:
    """An agent whose unexpected fault ends the process at once, with status CRASHED.

    Faust would acknowledge and drop what raised. The supervisor above starts the process again, and the chunk,
    which was not committed, is delivered again.
    """

    @wraps(agent)
    async def guard(stream: Any) -> None:
        try:
            await agent(stream)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, nothing more may be committed
            for tell in _last_words:
                tell(error)
            _die(error)

    return guard


class OneBehind:
    """Lets the second half of a chunk's work run while the first half of the next one does; halves keep their order.

    A fault in a second half is as deadly as one in a guarded agent.
    """

    def __init__(self, second: Agent) -> None:
        """`second` takes what the first half made."""
        self._second = guarded(second)
        self._running: asyncio.Future[None] | None = None

    async def follow(self, made: Any) -> None:
        """Begin the second half once the one before has ended, and return."""
        await self.rest()
        self._running = asyncio.ensure_future(self._second(made))

    async def rest(self) -> None:
        """Wait until nothing runs."""
        if self._running is not None:
            await self._running


async def serve(app: faust.App) -> None:
    """Run an app until SIGTERM or SIGINT. A fault of Faust itself ends the process at once, with status CRASHED."""
    loop = asyncio.get_running_loop()
    asked = loop.create_task(_asked_to_stop(app))
    app.finalize()
    starting = loop.create_task(app.start())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await _leave(app)
    await starting
    gc.collect()
    gc.freeze()  # what was loaded stays; to look through all of it holds everybody up for a tenth of a second each time
    logger.info("%s is ready", app.conf.id)
    crashed = loop.create_task(app.wait_until_stopped())
    await asyncio.wait({crashed, asked}, return_when=asyncio.FIRST_COMPLETED)
    if app.crash_reason:
        _ended_well(app)
        _die(app.crash_reason)
    await app.stop()
    _ended_well(app)


async def _asked_to_stop(app: faust.App) -> None:
    """Wait for SIGTERM or SIGINT; from then on the process has END_SECONDS.

    A thread sees to that: Kafka's clients wait in the loop, in threads, and after the loop, when the interpreter joins them.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    late = threading.Timer(END_SECONDS, _end_uncommitted, (app,))
    late.daemon = True
    late.start()


def _ended_well(app: Any) -> None:
    """No record is to blame for this end."""
    attempts: Attempts | None = getattr(app, "attempts", None)
    if attempts is not None:
        attempts.ended()


async def _leave(app: faust.App) -> NoReturn:
    """End a start that is not done: it may wait for a broker for ever."""
    logger.warning("%s was asked to stop before it was ready", app.conf.id)
    leaving = asyncio.ensure_future(app.stop())
    # Not wait_for: Faust goes on with what it stops when that is cancelled, and wait_for would wait for it.
    await asyncio.wait({leaving}, timeout=LEAVE_SECONDS)
    if not leaving.done():
        _end_uncommitted(app)
    if error := leaving.exception():
        logger.error("the start ended badly", exc_info=error)
    _ended_well(app)
    os._exit(0)


def _end_uncommitted(app: Any) -> NoReturn:
    """End at once, with status CRASHED if anything in hand is not committed: it is read again by whoever starts next."""
    status = CRASHED
    try:
        _ended_well(app)
        owed = uncommitted(app._consumer) if app._consumer is not None else []
        told = f"not committed, and read again from there: {', '.join(owed)}" if owed else "all is committed"
        logger.error(
            "%s was asked to stop, and waits still for a broker or a store: it ends without a commit. Of what it had in hand: %s",
            *(app.conf.id, told),
        )
        status = CRASHED if owed else 0
    except Exception:
        logger.exception("what was in hand at the end is not known")
    finally:
        os._exit(status)


async def in_thread(call: Callable[..., T], *args: Any, executor: ThreadPoolExecutor | None = None) -> T:
    """Run something that blocks, so that the loop goes on answering."""
    return await asyncio.get_running_loop().run_in_executor(executor, call, *args)


def _die(error: BaseException) -> NoReturn:
    sys.stderr.write(scrubbed("".join(traceback.format_exception(error))))
    sys.stderr.flush()
    os._exit(CRASHED)
