"""Faust, delivered in chunks: one message a fetch, a chunk per run of a partition's records, committed only when done.

Faust's own bookkeeping was written for single messages. Its gap rule would commit a chunk before it is done, and it
acknowledges the chunk in hand when SIGTERM cancels the agent. So what is committed here is what the agent itself
marked done, in order, and nothing else. Both transports, the embedded and the Kafka one, live by this file.
The private names of faust-streaming 0.15.3 that it overrides are held by ``tests/contract/test_faust_private.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from faust.types.tuples import TP as FaustTP
from faust.types.tuples import ConsumerMessage, Message
from mode.utils.futures import notify

from stream.attempts import Attempts, Piece
from stream.crash_points import reached
from stream.marks import Chunk, Marks
from stream.records import TP, Record
from stream.start import Start

logger = logging.getLogger(__name__)

BATCH = 1_000
"""Records from which on a batch takes no further chunk, where its reader does not say otherwise."""

READY_SECONDS = 0.01
"""How long a message may take out of Faust's buffer: it comes at once, or it is one that Faust passes over."""


class ChunkedConsumer:
    """Mixed into a Faust consumer, before its own class: delivers chunks, and commits what agents marked done.

    A transport says in `_runs` how what it fetched falls into runs of one partition each.
    """

    marks: Marks

    PLACED_ANEW: tuple[type[Exception], ...] = ()
    """What a seek raises that the group's next placing overtook: the partitions are no longer this member's."""

    def begin_chunks(self) -> None:
        """To be called when the consumer is made."""
        consumer: Any = self
        self.marks = Marks()
        self._attempts: Attempts | None = getattr(consumer.app, "attempts", None)
        if self._attempts is not None:
            self.marks.in_hand = self._attempts.has
        self._seeks = 0  # begun and ended ones both count, so that a fetch sees one that it ran beside
        self._seeking = 0
        self._floors: dict[TP, int] = {}  # where each partition is read from since the last seek, at least
        self._adrift = False

    def _runs(self, fetched: Any) -> Iterator[tuple[TP, Sequence[Record]]]:
        raise NotImplementedError

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[FaustTP, Message]]:
        """Fetch, and yield a message. Its value is the list of Chunks, its partition and offset those of the last record.

        What was fetched while somebody sought may lie before or behind the new place. To deliver it would put later
        records before earlier ones, and a commit of the later would lose the earlier: so all is read again.
        """
        consumer: Any = self
        if self._adrift and consumer.flow_active and consumer.assignment():
            await self.perform_seek()
        if not await self._room(timeout):
            return
        seeks = self._seeks
        fetched, _ = await consumer._wait_next_records(timeout)
        if not fetched or consumer.should_stop:
            return
        for parcel in self._parcels(fetched):
            if not self._moved_since(seeks):
                await self._refuse_gaps(parcel)
            if self._moved_since(seeks):
                self._adrift = True
                return
            message = self._message(parcel)
            yield message.tp, message

    def _moved_since(self, seeks: int) -> bool:
        """Whether somebody has sought, or seeks, or partitions were given away."""
        consumer: Any = self
        return bool(self._adrift or self._seeking or self._seeks != seeks or not consumer.flow_active)

    def _parcels(self, fetched: Any) -> Iterator[list[tuple[TP, Piece]]]:
        """What goes to the agent at once: everything, but what is suspected alone.

        A message costs Faust's loop a third of a millisecond, whatever it holds.
        """
        parcel: list[tuple[TP, Piece]] = []
        for tp, records in self._runs(fetched):
            for piece in self._attempts.pieces(tp, records) if self._attempts else (Piece(records),):
                if parcel and (piece.suspected or parcel[-1][1].suspected):
                    yield parcel
                    parcel = []
                parcel.append((tp, piece))
        if parcel:
            yield parcel

    async def _room(self, timeout: float) -> bool:
        """Wait while agents have enough to do: Faust's own buffer counts messages, which here are whole chunks.

        At the end of the log one that has something in hand has enough, for so long as it may wait: what comes meanwhile
        is one batch then, and no dozen of small ones that cost as much each.
        """
        while self.marks.full or not (self.marks.asked or self.marks.much):
            self.marks.wanted.clear()
            try:
                async with asyncio.timeout(timeout):  # wait_for of Python 3.11 may swallow a cancellation
                    await self.marks.wanted.wait()
            except TimeoutError:
                return not self.marks.full
        return True

    async def _refuse_gaps(self, parcel: Sequence[tuple[TP, Piece]]) -> None:
        """The first piece of each partition follows what was delivered of it, the others follow each other."""
        firsts: dict[TP, int] = {}
        for tp, piece in parcel:
            firsts.setdefault(tp, piece.records[0].offset)
        for tp, first in firsts.items():
            await self._refuse_gap(tp, first)

    async def _refuse_gap(self, tp: TP, first: int) -> None:
        """Retention may overtake a reader that is slow, or slept; a client goes on behind the gap without a word.

        Offsets may be missing for other reasons (transactions, compaction): what counts is where the log begins now.
        """
        consumer: Any = self
        rule: Start | None = getattr(consumer.app, "start_rule", None)
        expected = max(self.marks.next_of(tp), self._floors.get(tp, 0))
        if rule is None or first <= expected or tp not in self._floors:
            return
        ((_, oldest),) = (await consumer.earliest_offsets(FaustTP(*tp))).items()
        if oldest > expected:
            rule.overtaken(tp, expected, oldest)

    def _message(self, parcel: Sequence[tuple[TP, Piece]]) -> ConsumerMessage:
        consumer: Any = self
        delivered = []
        for tp, piece in parcel:
            chunk = self.marks.deliver(tp, piece.records)
            chunk.suspected, chunk.condemned = piece.suspected, piece.condemned
            delivered.append(chunk)
        self.marks.serve(delivered)
        self._seen_by_faust(parcel)
        tp, last = delivered[-1].tp, delivered[-1].records[-1]
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=last.offset,
            timestamp=last.timestamp_ms / 1000,
            timestamp_type=0,
            headers=[],
            key=None,
            value=delivered,  # type: ignore[arg-type] # Faust knows bytes; agents get the chunks
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=FaustTP(*tp),
            generation_id=consumer.app.consumer_generation_id,  # without it streams pass the message over
        )

    def _seen_by_faust(self, parcel: Sequence[tuple[TP, Piece]]) -> None:
        """Faust notes when something of a message's partition came in, and warns of those of which nothing did."""
        consumer: Any = self
        monitor = getattr(consumer.app, "monitor", None)
        if monitor is not None:
            now = time.monotonic()
            monitor.stream_inbound_time.update((FaustTP(*tp), now) for tp, _ in parcel)

    def on_buffer_full(self, tp: FaustTP) -> None:
        """Faust would stop reading this one partition, and so break the order between them; `_room` waits instead."""

    def on_buffer_drop(self, tp: FaustTP) -> None:
        """Nothing was stopped."""

    def ack(self, message: Message) -> bool:
        """Faust's acknowledgement, which comes when an agent is cancelled too: it commits nothing."""
        if message.acked:
            return False
        message.acked = True
        consumer: Any = self
        consumer._unacked_messages.discard(message)
        notify(consumer._waiting_for_ack)
        return True

    def _new_offset(self, tp: FaustTP) -> int | None:
        return self.marks.after(TP(*tp))

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[FaustTP]:
        return [FaustTP(*tp) for tp in self.marks.partitions()]

    async def _commit_offsets(
        self, offsets: Mapping[FaustTP, int], start_new_transaction: bool = True
    ) -> bool:
        reached("commit.begun")
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)  # type: ignore[misc]
        reached("commit.ended")
        return committed

    async def _add_gap(self, tp: FaustTP, offset_from: int, offset_to: int) -> None:
        """A chunk's offsets are no gap."""

    async def perform_seek(self) -> None:
        """Go back to what was committed, or further (stream.start); chunks delivered before count no more."""
        consumer: Any = self
        self._adrift = False  # at the start: what is dropped from now on may be what this very seek gave
        self._seeks += 1
        self._seeking += 1
        try:
            self.marks.forget(TP(*tp) for tp in consumer.assignment())
            await super().perform_seek()  # type: ignore[misc]
            await self._begin()
        except self.PLACED_ANEW as error:
            logger.info("a seek was overtaken by the group's next placing, which seeks again: %s", error)
            self._adrift = True
        except BaseException:
            self._adrift = True
            raise
        finally:
            self._seeks += 1
            self._seeking -= 1

    async def _begin(self) -> None:
        """Stand where the role must begin, which may lie before what its group committed."""
        consumer: Any = self
        tps: list[FaustTP] = sorted(consumer.assignment())
        starts = committed = {TP(*tp): consumer._read_offset.get(tp) or 0 for tp in tps}
        rule: Start | None = getattr(consumer.app, "start_rule", None)
        if rule is not None and tps:
            oldest = committable(await consumer.earliest_offsets(*tps))
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(None, rule.offsets, committed, oldest)
            rule.refuse_another_log(found, committable(await consumer.highwaters(*tps)))
            starts = found
            self._floors = oldest
            await self._go_back({tp: max(at, oldest[tp]) for tp, at in starts.items() if at != committed[tp]})
        if self._attempts is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._attempts.begin, starts)
        for tp, offset in starts.items():
            self.marks.begin(tp, offset)

    async def _go_back(self, offsets: Mapping[TP, int]) -> None:
        """Read from offsets before the committed ones, and commit them again as they are done: so they are kept."""
        consumer: Any = self
        if offsets:
            await consumer.seek_wait({FaustTP(*tp): offset for tp, offset in offsets.items()})
        for tp, offset in offsets.items():
            consumer._committed_offset[FaustTP(*tp)] = offset or None

    async def on_partitions_revoked(self, revoked: set[FaustTP]) -> None:
        """Others read these partitions from now on: they start behind what is done."""
        consumer: Any = self
        if revoked:
            await consumer.commit()
        self._seeks += 1
        self._adrift = True
        # At once: a commit that began from here on would be refused, and be taken for done where they come back.
        self.marks.forget(TP(*tp) for tp in revoked)
        await super().on_partitions_revoked(revoked)  # type: ignore[misc]


def hold_back(consumer: Any, topic: str, wanted: bool) -> None:
    """Read no further in a topic's partitions while that is wanted: their records stay in the log. The others go on.

    To be said again and again: a rebalance forgets it.
    """
    tps = {tp for tp in consumer.assignment() if tp.topic == topic}
    if wanted and not tps <= consumer._paused_partitions:
        consumer.pause_partitions(tps)
    elif not wanted and tps & consumer._paused_partitions:
        consumer.resume_partitions(tps)


def uncommitted(consumer: Any) -> list[str]:
    """Where agents took what is not committed, in words."""
    owed: Mapping[TP, int] = consumer.marks.owed(consumer._committed_offset)
    return [f"{tp.topic}[{tp.partition}]@{offset}" for tp, offset in sorted(owed.items())]


async def chunks(stream: Any) -> AsyncIterator[Chunk]:
    """A stream's chunks, as an agent takes them."""
    async for delivered in stream:
        for chunk in delivered:
            chunk.take()
            yield chunk
        delivered[-1].marks.ask()


async def batches(stream: Any, enough: int = BATCH) -> AsyncIterator[list[Chunk]]:
    """The same, several at once: what all partitions have ready, until it is `enough` records or more.

    So a round trip serves many partitions that have little each. Nobody waits for a batch to fill. A chunk that is
    suspected is a batch of its own.
    """
    source = aiter(stream)
    taking: asyncio.Future[list[Chunk] | None] | None = None
    try:
        while True:
            delivered = await (taking or anext(source, None))
            if delivered is None:
                return
            batch, taking, size = list(delivered), None, _size(delivered)
            while size < enough and not batch[0].suspected and not stream.channel.queue.empty():
                taking = asyncio.ensure_future(anext(source, None))
                await asyncio.wait({taking}, timeout=READY_SECONDS)
                delivered = taking.result() if taking.done() else None
                if delivered is None or delivered[0].suspected:
                    break
                batch += delivered
                taking, size = None, size + _size(delivered)
            marks = batch[0].marks
            marks.take(batch)
            yield batch
            if stream.channel.queue.empty():
                marks.ask()
    finally:
        if taking is not None:
            taking.cancel()


def _size(delivered: Iterable[Chunk]) -> int:
    return sum(len(chunk.records) for chunk in delivered)


def records_of(batch: Iterable[Chunk]) -> list[Record]:
    """All records of a batch, in its order."""
    return [record for chunk in batch for record in chunk.records]


def all_done(batch: Sequence[Chunk]) -> None:
    """What became of a batch is durable: let each of its chunks be committed."""
    batch[0].marks.finish(batch)


def runs_of(records: Sequence[Record]) -> Iterator[tuple[TP, list[Record]]]:
    """Records in their order, cut wherever the partition changes."""
    run: list[Record] = []
    for record in records:
        if run and (record.topic, record.partition) != (run[0].topic, run[0].partition):
            yield TP(run[0].topic, run[0].partition), run
            run = []
        run.append(record)
    if run:
        yield TP(run[0].topic, run[0].partition), run


def committable(offsets: Mapping[FaustTP, int]) -> dict[TP, int]:
    """Faust's offsets under our names."""
    return {TP(*tp): offset for tp, offset in offsets.items()}
