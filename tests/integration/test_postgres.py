"""The contracts of the ledger, its migrations and its retention, on PostgreSQL."""

from threading import Thread

import msgspec
import pytest

from stream.review.queue import ReviewQueue
from tests.contract.ledger_records import SEALER, alert, of_alerts, recorder_of
from tests.contract.test_alerts import *  # noqa: F403
from tests.contract.test_copying import *  # noqa: F403
from tests.contract.test_ledger import *  # noqa: F403 - the same suite, on another database
from tests.contract.test_logged import *  # noqa: F403
from tests.contract.test_migrations import *  # noqa: F403
from tests.contract.test_people import *  # noqa: F403
from tests.contract.test_retention import *  # noqa: F403
from tests.integration.postgres import make_database  # noqa: F401 - after the suites, whose own it takes the place of


@pytest.mark.parametrize(("verdicts", "labels"), [(("fraud", "legitimate"), 2), (("fraud", "fraud"), 1)])
def test_two_analysts_at_once_leave_a_chain_of_labels_and_no_fork(ledger, verdicts, labels):
    recorder_of(ledger).record(of_alerts(*(alert(f"e{number}") for number in range(20))))
    queue = ReviewQueue(ledger, SEALER.open)
    for number in range(20):
        threads = [Thread(target=queue.give, args=(f"alert-e{number}", verdict)) for verdict in verdicts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said = [msgspec.json.decode(record.value) for _, record in queue.unsent(limit=100)]
    for number in range(20):
        chain = [each for each in said if each["event_id"] == f"e{number}"]
        assert len(chain) == labels
        assert [each["reverses"] for each in chain[1:]] == [each["label_id"] for each in chain[:-1]]
