"""Faust on the embedded log: ``embedded://DIR``, found by Faust through the entry-point group ``faust.transports``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

from faust.transport import base
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.producer import Producer as FaustProducer
from faust.types.tuples import TP as FaustTP
from faust.types.tuples import ConsumerMessage, RecordMetadata
from mode import Service

from stream.attempts import Piece
from stream.chunks import ChunkedConsumer, committable, runs_of
from stream.embedded.log import Log
from stream.embedded.reader import Reader
from stream.embedded.wake import Waker
from stream.partition import partition_of
from stream.records import TP, Outgoing, Record

FETCH, FETCH_BYTES = 500, 16_000_000
"""Records of one fetch, a micro-batch of the hot path, and bytes after which it ends."""

RETAIN_SECONDS = 60.0
"""How often what retention lets go is dropped."""


class Consumer(ChunkedConsumer, FaustConsumer):  # type: ignore[misc]
    """The one member of its group; reads all partitions of its topics in the order in which they were appended."""

    consumer_stopped_errors: ClassVar[tuple[type[BaseException], ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Made by Faust."""
        super().__init__(*args, **kwargs)
        self.begin_chunks()
        self._log = log_of(self.app)
        self._group = self.app.conf.id
        self._member: IO[str] | None = None
        self._waker: Waker | None = None
        self._reader: Reader | None = None
        self._assigned: set[FaustTP] = set()
        self._appended = asyncio.Event()

    async def on_start(self) -> None:
        """Take the group's place; raises GroupTaken when it has a member."""
        self._member = self._log.join(self._group)
        self._waker = self._log.waker()
        asyncio.get_running_loop().add_reader(self._waker.fileno(), self._woken)

    def _woken(self) -> None:
        if self._waker:
            self._waker.clear()
        self._appended.set()

    async def on_stop(self) -> None:
        """Commit what is done, and leave the group."""
        try:
            await super().on_stop()
        finally:
            if self._waker:
                asyncio.get_running_loop().remove_reader(self._waker.fileno())
                self._waker.close()
            if self._member:
                self._member.close()

    @Service.task
    async def _retain(self) -> None:
        async for _ in self.itertimer(RETAIN_SECONDS, name="retention"):
            await self._threaded(self._log.retain)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take all partitions of these topics. Faust waits for this to return before it takes the assignment."""
        names = sorted(topics)
        counts = [(name, await self._threaded(self._log.partitions, name)) for name in names]
        self._assigned = {FaustTP(name, part) for name, count in counts for part in range(count)}
        self.add_future(self._assign())

    async def _assign(self) -> None:
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(set())
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(self._assigned, self.app.consumer_generation_id)

    def pause_partitions(self, tps: Iterable[FaustTP]) -> None:
        """Stand anew, without these: what is read of the others keeps the order of their appending."""
        super().pause_partitions(tps)
        self._adrift = True

    def resume_partitions(self, tps: Iterable[FaustTP]) -> None:
        """Stand anew, with these."""
        super().resume_partitions(tps)
        self._adrift = True

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        """The next records of the partitions that are not paused, in the order in which they were appended."""
        if self._reader is None:
            await self.perform_seek()
        self._appended.clear()
        records = await self._fetch()
        if records:
            return records
        try:
            async with asyncio.timeout(timeout):  # wait_for of Python 3.11 may swallow a cancellation
                await self._appended.wait()
        except TimeoutError:
            return []
        return await self._fetch()

    async def _fetch(self) -> list[Record]:
        reader = self._reader
        records: list[Record] = await self._threaded(reader.fetch, FETCH, FETCH_BYTES) if reader else []
        return records if reader is self._reader else []  # a seek came in between: those are from elsewhere

    def _runs(self, fetched: Any) -> Iterator[tuple[TP, Sequence[Record]]]:
        return runs_of(fetched)

    async def seek_to_committed(self) -> Mapping[FaustTP, int]:
        """Read on from what the group committed."""
        found: dict[FaustTP, int] = {}
        for topic in sorted({tp.topic for tp in self._assigned}):
            committed = await self._threaded(self._log.committed, self._group, topic)
            found.update({FaustTP(topic, part): offset for part, offset in committed.items()})
        self._stand_at({TP(*tp): offset for tp, offset in found.items() if tp not in self._paused_partitions})
        return found

    def _stand_at(self, positions: Mapping[TP, int]) -> None:
        self._reader = self._log.reader(positions)

    async def _seek(self, partition: FaustTP, offset: int) -> None:
        if partition in self._paused_partitions:
            return
        positions = dict(self._reader.positions) if self._reader else {}
        self._stand_at({**positions, TP(*partition): offset})

    async def seek_wait(self, partitions: Mapping[FaustTP, int]) -> None:
        """Seek several partitions."""
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def _commit(self, offsets: Mapping[FaustTP, int]) -> bool:
        await self._threaded(self._log.commit, self._group, committable(offsets))
        return True

    async def position(self, tp: FaustTP) -> int | None:
        """The next offset to be fetched."""
        return self._reader.positions.get(TP(*tp)) if self._reader else None

    async def earliest_offsets(self, *partitions: FaustTP) -> Mapping[FaustTP, int]:
        """The oldest offsets that are still there."""
        return {
            tp: (await self._threaded(self._log.first_offsets, tp.topic))[tp.partition] for tp in partitions
        }

    async def highwaters(self, *partitions: FaustTP) -> Mapping[FaustTP, int]:
        """The offsets that the next records will get."""
        return {
            tp: (await self._threaded(self._log.end_offsets, tp.topic))[tp.partition] for tp in partitions
        }

    def highwater(self, tp: FaustTP) -> int:
        """The offset that the next record will get."""
        return self._log.end_offsets(tp.topic)[tp.partition]

    def assignment(self) -> set[FaustTP]:
        """The partitions that are read."""
        return self._assigned

    def topic_partitions(self, topic: str) -> int | None:
        """How many partitions a topic has."""
        return self._log.partitions(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """The partition of a key."""
        return partition if partition is not None else partition_of(key, self._log.partitions(topic))

    async def create_topic(self, topic: str, partitions: int, replication: int, **settings: Any) -> None:
        """Make a topic; replication is for those with several machines."""
        await self._threaded(self._log.ensure_topic, topic, partitions)

    def _new_topicpartition(self, topic: str, partition: int) -> FaustTP:
        return FaustTP(topic, partition)

    def _to_message(self, tp: FaustTP, record: Any) -> ConsumerMessage:
        return self._message([(TP(*tp), Piece([record]))])

    def verify_event_path(self, now: float, tp: FaustTP) -> None:
        """There is no broker that could have stopped answering."""

    async def _threaded(self, call: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, partial(call, *args))


class Producer(FaustProducer):
    """Faust's own way to send: one record at a time. Weir's agents send by the batch, through an Outlet."""

    @property
    def _log(self) -> Log:
        return log_of(self.app)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Append one record; the awaitable is done, since an append that returned is durable."""
        done: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        done.set_result(await self.send_and_wait(topic, key, value, partition, timestamp, headers))
        return done

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Append one record and say where it stands; raises ValueError for a `partition` that is not its key's."""
        if partition not in (None, self.key_partition(topic, key).partition):
            raise ValueError(
                f"the embedded log finds a record's partition by its key; {topic}[{partition}] is another"
            )
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        record = Outgoing(key, value or b"", tuple((name, bytes(text)) for name, text in pairs))
        append = partial(self._log.append, topic, [record])
        given = await asyncio.get_running_loop().run_in_executor(None, append)
        ((tp, offsets),) = given.items()
        return RecordMetadata(topic, tp.partition, FaustTP(*tp), offsets.start)

    async def create_topic(self, topic: str, partitions: int, replication: int, **settings: Any) -> None:
        """Make a topic."""
        self._log.ensure_topic(topic, partitions)

    def key_partition(self, topic: str, key: bytes | None) -> FaustTP:
        """The partition of a key."""
        return FaustTP(topic, partition_of(key, self._log.partitions(topic)))

    async def flush(self) -> None:
        """Send what Faust still holds."""
        await self.buffer.flush()

    def supports_headers(self) -> bool:
        """Records carry headers."""
        return True


class Transport(base.Transport):
    """``embedded://DIR``: the log of that directory."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
    default_port = 0
    driver_version = "embedded"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Made by Faust."""
        super().__init__(*args, **kwargs)
        url = self.url[0]
        if url.host:
            raise ValueError(f"{url} names no absolute directory: say embedded:///DIR")
        self.log = Log(Path(url.path))


def log_of(app: Any) -> Log:
    """The log that an app on this transport reads."""
    log: Log = app.transport.log
    return log
