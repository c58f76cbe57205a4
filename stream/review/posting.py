"""Events posted over HTTP: appended to the stream like any other, and answered from the ledger once they are decided."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import msgspec

from features.events import Transaction
from features.profile import Profile
from stream.codec import MAX_BYTES, Codec, DeadLetter
from stream.decisions import TRANSACTIONS
from stream.records import ARRIVED, Outgoing, Publisher, Record
from stream.review.ledger import Ledger, now_us

PATIENCE_SECONDS = 10.0
"""How long a posted event may take to come back decided."""

POLL_SECONDS = 0.02

MOST_WAITING = 64
"""Posted events that wait for their decision at once: each asks the database again and again."""

RETRY_SECONDS = 5
"""When it is worth to ask again, as a guess: an overload takes seconds to drain."""

logger = logging.getLogger(__name__)


class PostError(Exception):
    """An event that gets no decision: why, and the HTTP status that says so."""

    def __init__(self, status: int, text: str) -> None:
        """`text` is for people."""
        super().__init__(text)
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """What the answer's head says besides."""
        return {"Retry-After": str(RETRY_SECONDS)} if self.status in (503, 504) else {}


class Decided(msgspec.Struct, gc=False):
    """The part of a decision that tells which content it was made of."""

    body: str


class Desk:
    """Takes events in, one at a time, and waits for their decisions."""

    def __init__(
        self,
        ledger: Ledger,
        publisher: Publisher,
        profile: Profile,
        prefix: str = "",
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`prefix` is the tenant's, put before the topic's name."""
        self._ledger = ledger
        self._publisher = publisher
        self._profile = profile
        self._codec = Codec(profile)
        self._topic = prefix + TRANSACTIONS
        self._patience_seconds = patience_seconds
        self._waiting = 0

    def known_id(self, event_id: str) -> str:
        """How the ledger knows an event of this id."""
        return self._profile.known_id(event_id)

    async def post(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The decision of the event whose JSON comes in these chunks; raises PostError.

        Beyond MOST_WAITING at once events are turned away before anything is done with them.
        """
        if self._waiting >= MOST_WAITING:
            raise PostError(
                503, f"{self._waiting} events wait for their decision already; send this one again later"
            )
        self._waiting += 1
        try:
            return await self._post(chunks)
        finally:
            self._waiting -= 1

    async def _post(self, chunks: AsyncIterator[bytes]) -> bytes:
        body = await _read(chunks)
        arrived_us = await asyncio.to_thread(self._ledger.clock_us, now_us())
        event = self._event(body, arrived_us)
        known = await self._known(event)
        if known is not None:
            return known
        record = Outgoing(self._profile.key(event), body, ((ARRIVED, b"%d" % arrived_us),))
        await self._publish(record, event)
        return await self._decided(event)

    async def _publish(self, record: Outgoing, event: Transaction) -> None:
        try:
            await asyncio.to_thread(self._publisher.publish, self._topic, [record])
        except Exception as error:
            logger.exception("a posted event could not be put on the stream")
            raise PostError(
                503,
                f"the stream takes nothing now, and it is not known whether it has the event {event.event_id!r}: send it "
                "again later, the same event counts once",
            ) from error

    def _event(self, body: bytes, arrived_us: int) -> Transaction:
        """Read it as the score role will, so that what would be a dead letter is refused at the door."""
        headers = ((ARRIVED, b"%d" % arrived_us),)
        event = self._codec.decode(Record(TRANSACTIONS, 0, 0, None, body, headers, 0))
        if isinstance(event, DeadLetter):
            raise PostError(422, event.reason)
        assert isinstance(event, Transaction)
        return event

    async def _known(self, event: Transaction) -> bytes | None:
        record = await asyncio.to_thread(self._ledger.decision, event.event_id)
        if record is not None and msgspec.json.decode(record, type=Decided).body != event.body.hex():
            raise PostError(409, f"the event {event.event_id!r} was decided before, with another content")
        return record

    async def _decided(self, event: Transaction) -> bytes:
        deadline = time.monotonic() + self._patience_seconds
        while time.monotonic() < deadline:
            found = await self._known(event)
            if found is not None:
                return found
            await asyncio.sleep(POLL_SECONDS)
        raise PostError(
            504,
            f"the event {event.event_id!r} is on the stream, but no decision of it was recorded within "
            f"{self._patience_seconds:g} s: ask /api/v1/decisions/ later, and see whether the workers run",
        )


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_BYTES:
            raise PostError(413, f"an event has at most {MAX_BYTES:,} bytes")
    return bytes(body)
