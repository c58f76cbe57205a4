"""How batches go through the score role: small ones in one go, large ones in steps, all in their order."""

import asyncio
import threading

import pytest

from stream import conveyor
from stream.conveyor import FEW, Conveyor
from stream.marks import Marks
from stream.watch import UNWATCHED
from tests.unit.stream.test_chunks import A, run


class Work:
    """What becomes of a batch of the fake role, told to its log."""

    def __init__(self, role, name, seen):
        self.role, self.name, self.seen = role, name, seen
        self.carries = role.carries

    def seal(self):
        self.role.did("seal", self.name)

    def apply(self):
        self.role.did("apply", self.name)

    def settle(self):
        assert self.role.settling.wait(5)
        self.role.did("settle", self.name)


class Role:
    """Tells what it does, in which thread; a batch is named by its first offset."""

    def __init__(self):
        self.log, self.threads = [], {}
        self.answering = threading.Event()
        self.answering.set()
        self.carries = self.due = False
        self.settling = threading.Event()
        self.settling.set()

    def did(self, step, name):
        self.log.append((step, name))
        self.threads.setdefault(name, set()).add(threading.current_thread())

    def prepare(self, *taken, seen):
        name = taken[0].records[0].offset
        self.did("prepare", name)
        return Work(self, name, seen)

    def answer(self, work):
        assert self.answering.wait(5)
        self.did("answer", work.name)
        return work.name


class Outlet:
    """A log that takes what is sent when it is told to."""

    def __init__(self, role):
        self.role = role
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, outputs):
        await self.open.wait()
        self.role.log.append(("send", outputs))


class Line:
    """A conveyor between a fake role and a fake log, and batches of one partition for it."""

    def __init__(self):
        self.role, self.marks = Role(), Marks()
        self.outlet = Outlet(self.role)
        self.conveyor = Conveyor(self.role, self.outlet, UNWATCHED)
        self.at = 0

    def batch(self, size):
        chunk = self.marks.deliver(A, run(A, self.at, size))
        self.at += size
        return [chunk]

    async def steps(self, count):
        """What was done, once it is so much."""
        async with asyncio.timeout(5):
            while len(self.role.log) < count:
                await asyncio.sleep(0.001)
        return self.role.log


ORDER = ["prepare", "seal", "apply", "answer", "send"]


def test_a_small_batch_goes_all_its_way_in_one_thread_and_is_done_before_the_next_may_come():
    async def check():
        line = Line()
        batch = line.batch(FEW)
        await line.conveyor.take(batch)
        assert line.role.log == [(step, 0) for step in ORDER]
        assert len(line.role.threads[0]) == 1
        assert batch[0].is_done

    asyncio.run(check())


def test_a_large_batch_goes_in_steps_so_that_the_next_is_prepared_while_it_is_answered():
    async def check():
        line = Line()
        line.role.answering.clear()
        await line.conveyor.take(line.batch(FEW + 1))
        await line.conveyor.take(line.batch(FEW + 1))
        done = await line.steps(5)
        assert ("prepare", FEW + 1) in done
        assert ("answer", 0) not in done
        line.role.answering.set()
        done = await line.steps(10)
        assert [name for step, name in done if step == "send"] == [0, FEW + 1]
        assert len(line.role.threads[0]) == 4

    asyncio.run(check())


def test_a_small_batch_waits_for_the_large_ones_before_it():
    async def check():
        line = Line()
        line.outlet.open.clear()
        await line.conveyor.take(line.batch(FEW + 1))
        small = asyncio.ensure_future(line.conveyor.take(line.batch(1)))
        assert len(await line.steps(4)) == 4
        await asyncio.sleep(0.02)
        assert not any(name for _, name in line.role.log)
        line.outlet.open.set()
        await small
        assert line.role.log[4:] == [("send", 0), *((step, FEW + 1) for step in ORDER)]

    asyncio.run(check())


@pytest.mark.parametrize("size", [1, FEW + 1])
def test_a_batch_is_done_only_once_its_outputs_are_durable(size):
    async def check():
        line = Line()
        line.outlet.open.clear()
        (chunk,) = batch = line.batch(size)
        taking = asyncio.ensure_future(line.conveyor.take(batch))
        await line.steps(4)
        await asyncio.sleep(0.02)
        assert not chunk.is_done
        line.outlet.open.set()
        await taking
        await line.steps(5)
        await asyncio.sleep(0)
        assert chunk.is_done

    asyncio.run(check())


@pytest.mark.parametrize("size", [1, FEW + 1])
def test_with_a_suspected_batch_nothing_else_is_in_hand(size):
    async def check():
        line = Line()
        await line.conveyor.take(line.batch(FEW + 1))
        (suspect,) = batch = line.batch(size)
        suspect.suspected = True
        await line.conveyor.take(batch)
        assert suspect.is_done
        assert [name for _, name in line.role.log] == [0] * 5 + [FEW + 1] * 5

    asyncio.run(check())


def test_a_fault_in_one_go_is_raised_and_nothing_is_done(monkeypatch):
    async def check():
        line = Line()
        batch = line.batch(1)
        monkeypatch.setattr(line.role, "answer", lambda work: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await line.conveyor.take(batch)
        assert not batch[0].is_done

    asyncio.run(check())


def test_crash_points_are_passed_in_the_order_of_the_steps(monkeypatch):
    async def check():
        passed = []
        monkeypatch.setattr(conveyor, "reached", passed.append)
        line = Line()
        await line.conveyor.take(line.batch(1))
        assert passed == ["score.taken", "score.applied", "score.answered", "score.sent", "score.kept"]

    asyncio.run(check())


@pytest.mark.parametrize("size", [1, FEW + 1])
def test_a_batch_is_done_only_once_what_a_network_carries_is_stored(size):
    async def check():
        line = Line()
        line.role.carries = True
        line.role.settling.clear()
        (chunk,) = batch = line.batch(size)
        taking = asyncio.ensure_future(line.conveyor.take(batch))
        await line.steps(5)
        await asyncio.sleep(0.02)
        assert not chunk.is_done
        line.role.settling.set()
        await taking
        assert [step for step, _ in await line.steps(6)] == [*ORDER, "settle"]
        await asyncio.sleep(0.02)
        assert chunk.is_done

    asyncio.run(check())


def test_a_batch_whose_states_are_not_stored_yet_holds_up_no_answers():
    async def check():
        line = Line()
        line.role.carries = True
        line.role.settling.clear()
        await line.conveyor.take(line.batch(FEW + 1))
        await line.conveyor.take(line.batch(FEW + 1))
        done = await line.steps(10)
        assert [name for step, name in done if step == "send"] == [0, FEW + 1]
        assert not [step for step, _ in done if step == "settle"]
        line.role.settling.set()
        await line.steps(12)

    asyncio.run(check())
