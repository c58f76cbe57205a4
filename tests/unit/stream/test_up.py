"""The supervisor restarts what dies, backs off from what keeps dying, and leaves no process behind."""

import os
import signal
import sys
import time

import psutil
import pytest

from stream.up import AlreadyUp, Part, Supervisor, hold_directory


class Script(Part):
    """A part that runs a line of Python instead of a `weir` command."""

    def __init__(self, tmp_path, code):
        super().__init__("script", [], {}, tmp_path / "script.log")
        self._arguments = [sys.executable, "-c", code]


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_part_that_dies_is_started_again_and_its_last_words_are_told(tmp_path):
    part = Script(tmp_path, "print('no such table'); raise SystemExit(3)")
    part.start()
    said = []
    wait_until(lambda: said.append(part.check()) or said[-1] is not None)
    assert "script ended with status 3" in said[-1]
    assert "no such table" in said[-1]
    wait_until(lambda: said.append(part.check()) or said[-1] == "script is started again")
    part.wait(time.monotonic())


def test_the_pause_grows_while_a_part_keeps_dying(tmp_path):
    part = Script(tmp_path, "raise SystemExit(1)")
    pauses = []
    for _ in range(3):
        part.start()
        wait_until(lambda: part._process.poll() is not None)
        part.check()
        pauses.append(part._restart_at - time.monotonic())
    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]


def test_a_part_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path):
    part = Script(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
    )
    part.start()
    wait_until(lambda: "up" in (tmp_path / "script.log").read_text())
    process = psutil.Process(part.pid)
    part.terminate()
    part.wait(time.monotonic() + 0.2)
    assert not process.is_running()


def test_a_signal_ends_the_run_and_every_part(tmp_path):
    parts = [Script(tmp_path, "import time; time.sleep(60)") for _ in range(2)]
    supervisor = Supervisor(parts, say=lambda line: None)
    supervisor.start()
    processes = [psutil.Process(part.pid) for part in parts]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        supervisor.stop_on_signals()
        supervisor.run(tick=lambda: os.kill(os.getpid(), signal.SIGINT), seconds=0.01)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert not any(process.is_running() for process in processes)


def test_a_directory_is_held_by_one_supervisor_and_the_second_is_told_its_pid(tmp_path):
    held = hold_directory(tmp_path)
    with pytest.raises(AlreadyUp, match=f"pid {os.getpid()}"):
        hold_directory(tmp_path)
    held.close()
    hold_directory(tmp_path).close()
