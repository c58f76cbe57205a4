"""An audit on Kafka, where several partitions of events and labels were read in an order of their own."""

import subprocess
import sys
from datetime import UTC, datetime

import msgspec

from stream.broker import progress_for, publisher_for
from stream.records import Outgoing
from tests.acceptance.harness import env, eventually
from tests.integration.test_watched import EVENTS, payment, redis, stage  # noqa: F401 - fixtures


def send(stage, topic, rows):  # noqa: F811
    publisher = publisher_for(stage.url)
    publisher.publish(stage.prefix + topic, [Outgoing(key, value) for key, value in rows])
    publisher.close()


def card(number):
    return b"c%d" % (number % 20)


def label(number):
    told = {
        "label_id": f"l{number}", "event_id": f"{number}", "label": "fraud" if number % 3 else "legitimate",
        "source": "test", "labelled_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    return card(number), msgspec.json.encode(told)


def decided(stage):  # noqa: F811
    return sum(progress_for(stage.url).end_offsets(f"{stage.prefix}decisions").values())


def audit(stage):  # noqa: F811
    environment = env(stage.directory / "one", **stage.environment)
    command = [sys.executable, "-m", "stream", "features", "audit", "--sample", "1", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return msgspec.json.decode(done.stdout)


def test_an_audit_of_several_partitions_finds_nothing(stage):  # noqa: F811
    stage.worker("score", "one")
    eventually(lambda: stage.ready("one"), "the scorer is ready")
    step = EVENTS // 3
    for begin in range(0, EVENTS, step):
        numbers, done = range(begin, begin + step), begin + step
        send(stage, "transactions", [(card(number), payment(number)) for number in numbers])
        eventually(lambda done=done: decided(stage) >= done, "these are decided")
        send(stage, "labels", map(label, numbers))
    told = audit(stage)
    assert (told["decisions"], told["sampled"], told["differing"]) == (EVENTS, EVENTS, 0)
    assert (told["labels"], told["in_order"]) == (EVENTS, False)
    assert not any(told[name] for name in ("undecided", "gone", "shared", "unclaimed"))
    assert all(each["compared"] + each["unsettled"] == EVENTS for each in told["features"])
