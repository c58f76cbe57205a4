"""Far more than can be done: the workers' memory stays what it was, nothing is dropped, and all of it is done in the end."""

import pytest

from tests.acceptance.drill import Drill
from tests.acceptance.overload import overload

pytestmark = pytest.mark.slow

MOST = 1.2
"""RSS under overload against RSS at full load."""


def test_five_times_what_they_can_do_costs_the_workers_no_memory_and_loses_nothing(home, profile, model):
    drill = Drill(home, profile, model)
    all_is_done_and_memory_stays(drill)


def all_is_done_and_memory_stays(drill):
    drill.start()
    try:
        found = overload(drill)
    finally:
        drill.kill()
    assert found.recorded == found.sent
    assert found.dead == 0
    assert found.backlog > 2 * found.rate, "that was no overload"
    assert max(found.growth.values()) <= MOST, found
