"""What every app of ours has in common."""

import asyncio
import os
import subprocess
import sys

import pytest

from stream import agents
from stream.agents import CRASHED, OneBehind, guarded, make_app
from stream.secret import Secret


def test_an_app_writes_at_least_once_and_nothing_of_fausts_own(tmp_path):
    conf = make_app("g", f"embedded://{tmp_path}", tmp_path / "faust").conf
    assert conf.id == "g"
    assert conf.processing_guarantee.name == "AT_LEAST_ONCE"
    assert conf.producer_acks == -1
    assert conf.topic_disable_leader
    assert not conf.topic_allow_declare
    assert not conf.web_enabled
    assert not conf.stream_wait_empty


def test_an_app_finds_its_log_whatever_the_directory_is_called(tmp_path):
    directory = tmp_path / "a, b; 50% #1?"
    app = make_app("g", f"embedded://{directory}", tmp_path / "faust")
    assert app.transport.log.directory == directory


def test_an_agent_that_is_told_to_stop_stops():
    @guarded
    async def agent(stream):
        await asyncio.sleep(60)

    async def scenario():
        task = asyncio.ensure_future(agent(None))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())


def test_a_fault_ends_the_process_at_once_and_is_told():
    code = """
import asyncio, atexit
from stream.agents import guarded

@guarded
async def agent(stream):
    raise ValueError("nobody expected this")

atexit.register(print, "a clean end")
asyncio.run(agent(None))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert ended.returncode == CRASHED
    assert "ValueError: nobody expected this" in ended.stderr
    assert "a clean end" not in ended.stdout


def test_a_second_half_runs_while_the_next_first_half_does():
    async def scenario():
        going, may_end = asyncio.Event(), asyncio.Event()

        async def second(made):
            going.set()
            await may_end.wait()

        behind = OneBehind(second)
        await behind.follow(1)
        await going.wait()  # here the next chunk's first half would run
        may_end.set()
        await behind.follow(2)

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_no_second_half_begins_before_the_one_before_it_ended():
    async def scenario():
        told = []

        async def second(made):
            told.append(f"{made} begins")
            for _ in range(5 - made):  # the later, the quicker
                await asyncio.sleep(0)
            told.append(f"{made} ends")

        behind = OneBehind(second)
        for made in range(5):
            await behind.follow(made)
        await asyncio.sleep(0.01)
        return told

    told = asyncio.run(scenario())
    assert told == [f"{made} {what}" for made in range(5) for what in ("begins", "ends")]


def test_a_fault_in_a_second_half_is_deadly_though_no_chunk_follows(monkeypatch):
    deaths = []
    monkeypatch.setattr(agents, "_die", deaths.append)

    async def scenario():
        async def second(made):
            raise ValueError("told to fail")

        await OneBehind(second).follow(1)
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert [str(error) for error in deaths] == ["told to fail"]


def test_the_last_words_of_a_worker_hold_no_secret(capsys, monkeypatch):
    ended = []
    monkeypatch.setattr("stream.agents.os._exit", ended.append)
    Secret("open-sesame")
    agents._die(ValueError("login open-sesame was refused"))
    assert ended == [CRASHED]
    assert capsys.readouterr().err.endswith("ValueError: login *** was refused\n")


ASKED = """
import asyncio, logging, os, signal, time
from types import SimpleNamespace
from faust.types.tuples import TP as FaustTP
from stream import agents
from stream.marks import Marks
from stream.records import TP, Record

logging.basicConfig()
agents.END_SECONDS = agents.LEAVE_SECONDS = 0.2

class App:
    conf = SimpleNamespace(id="g")
    crash_reason = None
    def __init__(self, taken):
        marks = Marks()
        self._consumer = SimpleNamespace(marks=marks, _committed_offset={})
        if taken:
            marks.deliver(TP("in", 0), [Record("in", 0, 7, b"", b"", (), 0)]).take()
    def finalize(self): pass
    async def start(self): os.kill(os.getpid(), signal.SIGTERM)
    async def wait_until_stopped(self): await asyncio.sleep(60)
    async def stop(self): print("it leaves", flush=True)

class Hangs(App):
    async def start(self):
        await super().start()
        await asyncio.sleep(60)

class Deaf(App):
    async def stop(self):
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

class DeafStart(Deaf, Hangs): pass

class BadStart(Hangs):
    async def stop(self): raise ValueError("told to fail")
"""


def asked(code):
    """What becomes of a worker that is asked to stop."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", ASKED + code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=False,
    )


def test_a_worker_that_is_asked_to_stop_while_its_start_hangs_stops():
    ended = asked("asyncio.run(agents.serve(Hangs(taken=False)))")
    assert (ended.returncode, ended.stdout) == (0, "it leaves\n")


def test_a_start_that_fails_to_stop_is_told():
    ended = asked("asyncio.run(agents.serve(BadStart(taken=False)))")
    assert ended.returncode == 0
    assert "the start ended badly" in ended.stderr
    assert "ValueError: told to fail" in ended.stderr


@pytest.mark.parametrize("kind", ["Deaf", "DeafStart"])
def test_a_worker_that_cannot_stop_ends_without_a_commit_and_says_what_it_had_in_hand(kind):
    ended = asked(f"asyncio.run(agents.serve({kind}(taken=True)))")
    assert ended.returncode == CRASHED
    assert "g was asked to stop, and waits still" in ended.stderr
    assert "not committed, and read again from there: in[0]@7" in ended.stderr


@pytest.mark.parametrize("kind", ["Deaf", "DeafStart"])
def test_a_worker_that_cannot_stop_and_has_nothing_in_hand_ends_well(kind):
    ended = asked(f"asyncio.run(agents.serve({kind}(taken=False)))")
    assert ended.returncode == 0
    assert "all is committed" in ended.stderr


def test_a_worker_ends_also_where_threads_are_waited_for_after_the_loop():
    ended = asked(
        """
async def scenario():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    await agents.serve(App(taken=True))

asyncio.run(scenario())
"""
    )
    assert (ended.returncode, ended.stdout) == (CRASHED, "it leaves\n")


def test_an_end_that_can_tell_nothing_is_no_good_end():
    ended = asked("app = Deaf(taken=False)\ndel app._consumer\nasyncio.run(agents.serve(app))")
    assert ended.returncode == CRASHED
    assert "what was in hand at the end is not known" in ended.stderr
