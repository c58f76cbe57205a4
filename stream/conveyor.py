"""The score role's batches on their way through it: large ones in steps that run side by side, small ones in one go.

The steps keep both the server and Python busy, which is what a backlog needs. Each is a hop from thread to thread and
costs as much as three events; and where events come one by one, a batch that began early only waits in line before the
slowest step. In one go it is out sooner, and what came meanwhile is the next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor

from features.store import Source
from stream.agents import OneBehind, Outlet, in_thread
from stream.chunks import all_done
from stream.crash_points import reached
from stream.marks import Chunk
from stream.runs import Taken
from stream.score import Outputs, ScoreRole, Work
from stream.watch import Watch

FEW = 100
"""Records up to which a batch is small."""

Made = tuple[Sequence[Chunk], Work]


class Conveyor:
    """Takes batches through the score role and out, in their order; a fault on the way ends the process."""

    def __init__(self, role: ScoreRole, outlet: Outlet, watch: Watch) -> None:
        """Decisions go out by `outlet`; each batch tells `watch` how it does."""
        self._role, self._outlet, self._watch = role, outlet, watch
        self._preparing, self._sealing, self._applying, self._answering, self._settling = (
            ThreadPoolExecutor(1, name) for name in ("prepare", "seal", "apply", "answer", "settle")
        )
        # While the server works on a batch, Python works on those before and behind it, and the next one waits in line.
        self._applies, self._answers = OneBehind(self._follow), OneBehind(self._answer)
        self._settles = OneBehind(self._settle)

    async def take(self, batch: Sequence[Chunk]) -> None:
        """Take a batch in hand; returns when the next one may come. With a suspected one nothing else is in hand."""
        little = sum(len(chunk.records) for chunk in batch) <= FEW
        changes = self._role.due
        if little or batch[0].suspected or changes:
            await self._rest()
        if changes:
            await in_thread(self._role.change, executor=self._applying)
        if little:
            work, outputs = await in_thread(self._in_one_go, batch, executor=self._sealing)
            await self._send(work, outputs)
            await self._settle((batch, work))
            return
        await self._in_steps(batch)
        if batch[0].suspected:
            await self._rest()

    async def _rest(self) -> None:
        await self._applies.rest()
        await self._answers.rest()
        await self._settles.rest()

    # --- in one go

    def _in_one_go(self, batch: Sequence[Chunk]) -> tuple[Work, Outputs]:
        work = self._prepared(batch)
        work.seal()
        self._apply(work)
        return work, self._answered(work)

    # --- in steps

    async def _in_steps(self, batch: Sequence[Chunk]) -> None:
        work = await in_thread(self._prepared, batch, executor=self._preparing)
        sealed = in_thread(work.seal, executor=self._sealing)
        applied = in_thread(self._apply, work, executor=self._applying)
        await self._applies.follow(((batch, work), asyncio.gather(sealed, applied)))

    async def _follow(self, made: tuple[Made, Awaitable[object]]) -> None:
        (batch, work), ready = made
        await ready
        await self._answers.follow((batch, work))

    async def _answer(self, made: Made) -> None:
        batch, work = made
        await self._send(work, await in_thread(self._answered, work, executor=self._answering))
        await self._settles.follow((batch, work))

    # --- the steps

    def _prepared(self, batch: Sequence[Chunk]) -> Work:
        reached("score.taken")
        passing = self._watch.passage(*[chunk.records for chunk in batch])
        return self._role.prepare(*map(taken, batch), seen=passing)

    @staticmethod
    def _apply(work: Work) -> None:
        work.apply()
        reached("score.applied")

    def _answered(self, work: Work) -> Outputs:
        outputs = self._role.answer(work)
        reached("score.answered")
        return outputs

    async def _send(self, work: Work, outputs: Outputs) -> None:
        with work.seen.stage("produce"):
            await self._outlet.send(outputs)
        reached("score.sent")

    async def _settle(self, made: Made) -> None:
        """A batch that waits here for the store holds up no answers: a network's states go along with another batch."""
        batch, work = made
        if work.carries:
            await in_thread(work.settle, executor=self._settling)
        reached("score.kept")
        all_done(batch)
        work.seen.done()


def taken(chunk: Chunk) -> Taken:
    """A chunk as the score role takes it."""
    return Taken(chunk.records, Source(*chunk.tp, chunk.before, chunk.last + 1), chunk.condemned)
