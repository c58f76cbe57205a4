"""Directories, files and processes for acceptance tests; every process started here is ended here."""

from __future__ import annotations

import itertools
import signal

import msgspec
import psutil
import pytest

from stream.simulate.generator import Settings, Simulator
from tests.acceptance import harness
from tests.acceptance.generations import from_the_beginning, newer  # noqa: F401 - fixtures of several modules


@pytest.fixture
def home(tmp_path):
    """A directory for one Weir."""
    return tmp_path / "weir"


@pytest.fixture
def started():
    """Starts processes that are gone, with all their children, when the test ends."""
    processes = []

    def start(*arguments, directory, **environment):
        process = harness.start(*arguments, directory=directory, **environment)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.is_running():
            family = [process, *process.children(recursive=True)]
            for member in family:
                _kill(member)


def _kill(process):
    try:
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    except psutil.NoSuchProcess:
        return


@pytest.fixture(scope="session")
def payments(tmp_path_factory):
    """Six thousand simulated payments as a jsonl file, with the truth in the field `fraud`."""
    path = tmp_path_factory.mktemp("payments") / "payments.jsonl"
    simulated = itertools.islice(Simulator(Settings(seed=7, cards=300, merchants=60, per_day=300)), 6_000)
    path.write_bytes(
        b"".join(msgspec.json.encode({**each.raw, "fraud": each.fraud}) + b"\n" for each in simulated)
    )
    return path


@pytest.fixture(scope="session")
def profile(tmp_path_factory):
    """The profile `payments` as a user would copy it, for files that carry their labels."""
    from features.profile import SHIPPED

    path = tmp_path_factory.mktemp("profile") / "mine.toml"
    text = (SHIPPED / "payments.toml").read_text()
    path.write_text(text.replace("[source]\n", '[source]\nlabel = "fraud"\n'))
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory, payments, profile):
    """A model learned from the first payments, to be pinned."""
    path = tmp_path_factory.mktemp("model") / "model.weir"
    harness.weir(
        *("replay", payments, "--profile", profile, "--label-delay", "2d", "--save-model", path, "--json"),
        directory=path.parent / "weir",
    )
    return path
