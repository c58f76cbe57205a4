"""The same overload on Kafka, with several partitions."""

from uuid import uuid4

from stream.bootstrap import TOPICS
from stream.broker import ensure_topics
from tests.acceptance.conftest import model, payments, profile  # noqa: F401 - fixtures
from tests.acceptance.drill import Drill
from tests.acceptance.test_overload import all_is_done_and_memory_stays


def test_five_times_what_they_can_do_costs_the_workers_no_memory_and_loses_nothing(
    kafka, tmp_path, profile, model  # noqa: F811
):  # fmt: skip
    prefix = f"overload-{uuid4().hex[:8]}-"
    drill = Drill(tmp_path / "weir", profile, model, WEIR_BROKER=f"kafka://{kafka}", WEIR_TOPIC_PREFIX=prefix)
    ensure_topics(f"kafka://{kafka}", {drill.config.topic(name): 4 for name in TOPICS})
    all_is_done_and_memory_stays(drill)
