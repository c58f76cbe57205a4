"""An event loop that a scheduler turns by hand: asyncio's own tasks and futures, virtual time, threads that are steps.

Weir's apps run on it unchanged. Every process of the simulation has a loop of its own, so that killing a process is
to turn its loop no more.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Died(SystemExit):
    """The process ended here: nothing of it runs any more."""


class Clock:
    """The time of all processes, in seconds; it moves when nobody has anything to do."""

    def __init__(self) -> None:
        self.now = 0.0


class SimLoop(asyncio.AbstractEventLoop):
    """What asyncio asks of a loop, one callback or one thread's call at a time."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._jobs: dict[object, deque[Callable[[], None]]] = {}
        self._count = 0
        self.tasks: list[asyncio.Task[Any]] = []

    # --- turned by the scheduler

    @property
    def busy(self) -> bool:
        """Whether there is anything to do now."""
        return bool(self._ready or self._jobs)

    def step(self) -> None:
        """Run one callback, or one call in one of the threads."""
        others = len(self._jobs)
        if self._ready and (not others or self._chance.random() < 0.7):
            handle = self._ready.popleft()
            if not handle.cancelled():
                self._inside(handle._run)
            return
        name = list(self._jobs)[self._chance.randrange(others)] if others > 1 else next(iter(self._jobs))
        jobs = self._jobs[name]
        job = jobs.popleft()
        if not jobs:
            del self._jobs[name]
        self._inside(job)

    def _inside(self, call: Callable[[], object]) -> None:
        asyncio._set_running_loop(self)
        try:
            call()
        finally:
            asyncio._set_running_loop(None)

    def next_timer(self) -> float | None:
        """When something becomes ready by itself."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def wake(self) -> None:
        """Make the timers ready whose time has come."""
        while self._timers and self._timers[0][0] <= self._clock.now:
            self._ready.append(heapq.heappop(self._timers)[2])

    def bury(self) -> None:
        """Take the coroutines apart that are still waiting; what they do about it concerns nobody."""
        self._ready.clear()
        self._jobs.clear()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False
                with suppress(Died, RuntimeError):  # a guard hears of its end, and ends what has ended
                    task.get_coro().close()
            elif not task.cancelled():
                task.exception()  # is not to be told as never retrieved

    # --- asked by asyncio

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self._clock.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def time(self) -> float:
        return self._clock.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **more)
        self.tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """A call in a thread: it happens at once, some time later; calls of one executor keep their order.

        Without an executor it is a thread of its own.
        """
        future = self.create_future()

        def job() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                self.call_soon(_tell, future, None, error)
            else:
                self.call_soon(_tell, future, result, None)

        self._jobs.setdefault(object() if executor is None else executor, deque()).append(job)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Faults that nobody waited for. Those that matter end their process (stream.agents.guarded)."""


def _tell(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
