"""What a test needs of the machine: named in the environment, else in a container, else installed here, else it is skipped.

WEIR_TEST_REQUIRE names what must be there ("kafka postgres ..."): then its absence fails the test. .ci/run names all that
the machine offers, so that a server that is there and was not used is no silent skip.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from typing import NoReturn

import pytest

NAMES = (
    "kafka",
    "kafka-jars",
    "postgres",
    "postgres-binaries",
    "redis-server",
    "chromium",
    "promtool",
    "deploy",
)
"""All that may be required."""


def missing(name: str, reason: str) -> NoReturn:
    """This test cannot run here: skip it, or fail where that is required."""
    assert name in NAMES, name
    if name in os.environ.get("WEIR_TEST_REQUIRE", "").split():
        pytest.fail(f"{name} is required (WEIR_TEST_REQUIRE), and the test would be skipped: {reason}")
    pytest.skip(reason)


@cache
def docker_runs() -> bool:
    """Whether containers can be started here."""
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
