"""Verdicts reach the log in order, at least once, and a resend is the same label."""

import threading

import msgspec
import pytest

from stream.review.outbox import Outbox
from tests.contract.ledger_records import alert, of_alerts


@pytest.fixture
def outbox(queue, published, recorder):
    recorder.record(of_alerts(*(alert(f"e{number}") for number in range(250))))
    return Outbox(queue, published, "shop.labels")


def label_ids(published):
    return [msgspec.json.decode(record.value)["label_id"] for _, record in published.records]


def test_all_unsent_verdicts_go_out_in_order_and_once(outbox, queue, published):
    for number in range(250):
        queue.give(f"alert-e{number}", "fraud")
    assert outbox.flush() == 250
    assert outbox.flush() == 0
    assert label_ids(published) == [f"verdict-{number + 1}-alert-e{number}" for number in range(250)]
    assert {topic for topic, _ in published.records} == {"shop.labels"}


def test_a_crash_between_publish_and_mark_sends_the_same_label_again(outbox, queue, published, monkeypatch):
    queue.give("alert-e1", "fraud")
    with monkeypatch.context() as broken:
        broken.setattr(queue, "sent", _crash)
        with pytest.raises(SystemError):
            outbox.flush()
    outbox.flush()
    first, again = published.records
    assert first == again


def _crash(numbers):
    raise SystemError("killed")


def test_what_the_log_refuses_stays_and_goes_out_later_in_its_order(outbox, queue, published):
    queue.give("alert-e1", "fraud")
    published.fault = OSError("no broker")
    with pytest.raises(OSError, match="no broker"):
        outbox.flush()
    assert queue.waiting() == 1
    published.fault = None
    queue.give("alert-e2", "fraud")
    outbox.flush()
    assert label_ids(published) == ["verdict-1-alert-e1", "verdict-2-alert-e2"]
    assert queue.waiting() == 0


def test_the_thread_sends_when_it_is_poked_survives_a_refusal_and_empties_the_box_at_the_end(
    outbox, queue, published, caplog
):
    refused, sent = threading.Event(), threading.Event()

    class Refusing(OSError):
        def __init__(self):
            super().__init__("no broker")
            refused.set()

    published.fault = Refusing
    queue.give("alert-e1", "fraud")
    outbox.start()
    outbox.poke()
    assert refused.wait(20)
    published.then = lambda *_: sent.set()
    published.fault = None
    outbox.poke()
    assert sent.wait(20)
    assert "stay in the outbox" in caplog.text
    queue.give("alert-e2", "fraud")
    outbox.stop()
    assert label_ids(published) == ["verdict-1-alert-e1", "verdict-2-alert-e2"]
