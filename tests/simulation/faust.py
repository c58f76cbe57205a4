"""As much of Faust as Weir's apps touch, on the simulated log: an app, its stream, its consumer, its producer.

It does what was read in faust-streaming 0.15.3 (tests/contract/test_faust_private.py): it acknowledges what it should
not, clears its buffers in a rebalance, passes over messages of an earlier generation, and leaves the rest to
stream.chunks.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from faust.types.tuples import TP as FaustTP

from stream.chunks import ChunkedConsumer
from stream.records import TP, Outgoing, Record
from tests.simulation.log import PARTITIONS

if TYPE_CHECKING:
    from tests.simulation.process import Process

COMMIT_SECONDS = 0.2
FETCHED = 6
"""Records of one partition in one fetch, at most."""

BATCH = 3
"""Records of one produce batch."""


class ProduceFailed(Exception):
    """The broker did not acknowledge; whether it took the records nobody knows."""


class SimApp:
    """One role's app, in one process."""

    def __init__(self, name: str, process: Process) -> None:
        self.process = process
        self.conf = SimpleNamespace(id=name, broker=[SimpleNamespace(scheme="kafka")])
        self.consumer_generation_id = 0
        self.stream = SimStream(self)
        self.producer = SimProducer(process)
        self.topics: tuple[str, ...] = ()
        self.agents: list[Callable[[Any], Awaitable[None]]] = []
        self.consumer = SimConsumer(self)

    def topic(self, *names: str) -> tuple[str, ...]:
        return names

    def agent(self, topics: tuple[str, ...]) -> Callable[[Any], Any]:
        self.topics = topics

        def register(agent: Any) -> Any:
            self.agents.append(agent)
            return agent

        return register

    async def run(self) -> None:
        """Begin to work; the tasks go on by themselves."""
        loop = asyncio.get_running_loop()
        self.working = [loop.create_task(agent(self.stream)) for agent in self.agents]
        for service in (self.consumer.fetching, self.consumer.committing, self.consumer.belonging):
            loop.create_task(self._served(service))  # noqa: RUF006 - the loop holds its tasks

    async def _served(self, service: Callable[[], Awaitable[None]]) -> None:
        """A fault of Faust's own crashes the app: stream.agents.serve ends the process."""
        try:
            await service()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.process.crashed(error)

    async def stop(self) -> None:
        """SIGTERM: agents are cancelled, what they had in hand is acknowledged, what is done is committed."""
        for task in self.working:
            task.cancel()
        await asyncio.gather(*self.working, return_exceptions=True)
        self.stream.acknowledge()
        await self.consumer.commit()
        self.process.world.log.group(self.conf.id).leave(self.consumer)
        self.process.ends("stopped")


class SimStream:
    """A stream: messages in, chunks out, each acknowledged when the next is asked for."""

    def __init__(self, app: SimApp) -> None:
        self._app = app
        self._queue: deque[Any] = deque()
        self._came = asyncio.Event()
        self._in_hand: Any = None
        self.channel = SimpleNamespace(queue=SimpleNamespace(empty=lambda: not self._queue))

    def put(self, message: Any) -> None:
        self._queue.append(message)
        self._came.set()

    def clear(self) -> None:
        self._queue.clear()

    def acknowledge(self) -> None:
        if self._in_hand is not None:
            self._app.consumer.ack(self._in_hand)

    def __aiter__(self) -> SimStream:
        return self

    async def __anext__(self) -> Any:
        self.acknowledge()
        while True:
            while not (self._queue and self._app.consumer.flow_active):
                self._came.clear()
                await self._came.wait()
            message = self._queue.popleft()
            if message.generation_id == self._app.consumer_generation_id:
                self._in_hand = message
                return message.value


class SimFaust:
    """Faust's consumer, on the simulated log."""

    app: SimApp

    def __init__(self, app: SimApp) -> None:
        self.app = app
        self.flow_active, self.should_stop = False, False
        self.generation = 0
        self.changed, self.placed = asyncio.Event(), asyncio.Event()
        self._can_resume, self._appended = asyncio.Event(), asyncio.Event()
        self._unacked_messages: set[Any] = set()
        self._waiting_for_ack = None
        self._read_offset: dict[Any, int | None] = defaultdict(lambda: None)
        self._committed_offset: dict[Any, int | None] = defaultdict(lambda: None)
        self._positions: dict[FaustTP, int] = {}
        self._assigned: set[FaustTP] = set()
        self._paused_partitions: set[FaustTP] = set()
        self._commit_future: asyncio.Future[None] | None = None
        self._seek: asyncio.Task[None] | None = None

    # --- services

    async def fetching(self) -> None:
        """Faust's _drain_messages."""
        consumer: Any = self
        while True:
            async for tp, message in consumer.getmany(1.0):
                read = self._read_offset[tp]
                if read is None or message.offset >= read:
                    await asyncio.sleep(0)
                    self.app.stream.put(message)
                    self._read_offset[tp] = message.offset
            await asyncio.sleep(0)

    async def committing(self) -> None:
        """Faust's _commit_handler."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self.commit()

    async def belonging(self) -> None:
        """Membership of the group: give up, join, be placed, seek, go on."""
        consumer: Any = self
        group = self._group
        group.topics = self.app.topics
        while True:
            if self._seek is not None and not self._seek.done():
                self._seek.cancel()
                await asyncio.wait([self._seek])
            self._stop_flow()
            await consumer.on_partitions_revoked(set(self._assigned))
            group.join(self)
            await self.placed.wait()
            if self.changed.is_set():  # thrown out while it waited
                continue
            self._assigned = {FaustTP(*tp) for tp in group.share(self)}
            self.app.consumer_generation_id += 1
            await asyncio.sleep(0)
            self._seek = asyncio.get_running_loop().create_task(self.app._served(self._resume))
            await self.changed.wait()

    async def _resume(self) -> None:
        consumer: Any = self
        await consumer.perform_seek()
        self.flow_active = True
        self._can_resume.set()
        self._appended.set()  # a fetch that waits at the old place looks at the new one
        self.app.stream._came.set()

    def _stop_flow(self) -> None:
        self.flow_active = False
        self._can_resume.clear()

    # --- what stream.chunks calls

    @property
    def _group(self) -> Any:
        return self.app.process.world.log.group(self.app.conf.id)

    def assignment(self) -> set[FaustTP]:
        return self._assigned

    def pause_partitions(self, tps: set[FaustTP]) -> None:
        self._paused_partitions |= tps

    def resume_partitions(self, tps: set[FaustTP]) -> None:
        self._paused_partitions -= tps
        self._appended.set()

    async def on_partitions_revoked(self, revoked: set[FaustTP]) -> None:
        for tp in revoked:
            self._read_offset.pop(tp, None)
            self._committed_offset.pop(tp, None)
        self._paused_partitions -= revoked
        self._stop_flow()
        self.app.stream.clear()
        await asyncio.sleep(0)

    async def perform_seek(self) -> None:
        found = await self.seek_to_committed()
        self._read_offset.update(found)
        self._committed_offset.update({tp: offset or None for tp, offset in found.items()})

    async def seek_to_committed(self) -> Mapping[FaustTP, int]:
        tps = sorted(self._assigned)
        found = await self._call(lambda: {tp: self._group.committed.get(TP(*tp), 0) for tp in tps})
        self._positions.update(found)  # one that began with fewer partitions moves no others
        return dict(found)

    async def seek_wait(self, offsets: Mapping[FaustTP, int]) -> None:
        await self._call(lambda: self._positions.update(offsets))
        self._read_offset.update({tp: offset or None for tp, offset in offsets.items()})

    async def highwaters(self, *tps: FaustTP) -> dict[FaustTP, int]:
        log = self.app.process.world.log
        return await self._call(lambda: {tp: len(log.records[TP(*tp)]) for tp in tps})

    async def earliest_offsets(self, *tps: FaustTP) -> dict[FaustTP, int]:
        return await self._call(lambda: dict.fromkeys(tps, 0))

    async def _wait_next_records(self, timeout: float) -> tuple[Mapping[FaustTP, Sequence[Record]], None]:
        if not self.flow_active:
            await self._can_resume.wait()
        self._appended.clear()
        fetched = await self._call(self._fetch)
        if not fetched:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._appended.wait(), timeout)
        return fetched, None

    def _fetch(self) -> dict[FaustTP, list[Record]]:
        log, chance = self.app.process.world.log, self.app.process.chance
        found = {}
        wanted = self._assigned - self._paused_partitions
        places = {tp: at for tp, at in sorted(self._positions.items()) if tp in wanted}
        for tp, at in places.items():
            records = log.records[TP(*tp)][at : at + chance.randint(1, FETCHED)]
            if records and chance.random() < 0.8:
                found[tp] = records
                self._positions[tp] = records[-1].offset + 1
        if not found:
            behind = any(at < len(log.records[TP(*tp)]) for tp, at in places.items())
            self._appended.set() if behind else log.on_append(self._appended.set)
        return found

    async def _call(self, call: Callable[[], Any]) -> Any:
        """A round trip to the broker."""
        return await asyncio.get_running_loop().run_in_executor(None, call)

    # --- commits, as Faust does them

    async def commit(self) -> bool:
        if self._commit_future is not None:
            await self._commit_future
            return False
        self._commit_future = asyncio.get_running_loop().create_future()
        try:
            return await self._force_commit()
        finally:
            future, self._commit_future = self._commit_future, None
            if not future.done():
                future.set_result(None)

    async def _force_commit(self) -> bool:
        consumer: Any = self
        offsets = {}
        for tp in consumer._filter_tps_with_pending_acks():
            offset, committed = consumer._new_offset(tp), self._committed_offset[tp]
            if offset is not None and (committed is None or (offset and offset > committed)):
                offsets[tp] = offset
        return bool(offsets) and bool(await consumer._commit_offsets(offsets))

    async def _commit_offsets(
        self, offsets: Mapping[FaustTP, int], start_new_transaction: bool = True
    ) -> bool:
        offsets = {tp: offset for tp, offset in offsets.items() if tp in self._assigned}
        if not offsets:
            return False
        generation, world = self.generation, self.app.process.world
        named = {TP(*tp): offset for tp, offset in offsets.items()}

        def send() -> bool:
            world.point("before commit")
            done: bool = self._group.commit(self, generation, named)
            world.point("after commit")
            return done

        done = await self._call(send)
        self._committed_offset.update(offsets)
        return bool(done)


class SimConsumer(ChunkedConsumer, SimFaust):
    """Faust's consumer with Weir's rules before it, as stream.kafka puts them together."""

    def __init__(self, app: SimApp) -> None:
        super().__init__(app)
        self.begin_chunks()

    def _runs(self, fetched: Any) -> Iterator[tuple[TP, Sequence[Record]]]:
        for tp, records in fetched.items():
            yield TP(*tp), records


class SimBatch:
    """A produce batch that is soon full."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    def append(self, *, key: Any, value: Any, timestamp: Any, headers: Any) -> object | None:
        if len(self.records) == BATCH:
            return None
        self.records.append(Outgoing(key, value, tuple(headers)))
        return self


class SimProducer:
    """aiokafka's producer: batches of one partition in order, partitions side by side."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def _ensure_producer(self) -> SimProducer:
        return self

    async def partitions_for(self, topic: str) -> range:
        return range(PARTITIONS[topic])

    def create_batch(self) -> SimBatch:
        return SimBatch()

    async def send_batch(self, batch: SimBatch, topic: str, *, partition: int) -> asyncio.Future[None]:
        world, tp = self._process.world, TP(topic, partition)

        def produce() -> None:
            if world.point("before produce") == "fail":
                raise ProduceFailed(f"{tp} took nothing")
            world.log.append(tp, batch.records, world.now_ms)
            what = world.point("after produce")
            if what == "fail":
                raise ProduceFailed(f"{tp} took it, and the answer was lost")
            if what == "twice":
                world.log.append(tp, batch.records, world.now_ms)

        return asyncio.get_running_loop().run_in_executor(tp, produce)
