"""One log or the other, by its address."""

from pathlib import Path

import pytest

from stream.broker import directory_of, ensure_topics, progress_for, publisher_for
from stream.embedded.log import LogError
from stream.records import Outgoing


def test_what_is_published_at_an_address_is_seen_there(tmp_path):
    url = f"embedded://{tmp_path}/a log"
    ensure_topics(url, {"t": 2})
    publisher, progress = publisher_for(url), progress_for(url)
    publisher.publish("t", [Outgoing(b"%d" % number, b"v") for number in range(10)])
    assert sum(progress.end_offsets("t").values()) == 10
    assert progress.committed("anyone", "t") == {0: 0, 1: 0}
    publisher.close()


def test_topics_that_are_there_are_not_made_again(tmp_path):
    url = f"embedded://{tmp_path}"
    ensure_topics(url, {"t": 2})
    ensure_topics(url, {"t": 2, "s": 1})
    with pytest.raises(LogError, match="its keys would move"):
        ensure_topics(url, {"t": 3})


def test_an_address_names_its_directory():
    assert directory_of("embedded:///var/lib/a log, mine") == Path("/var/lib/a log, mine")
