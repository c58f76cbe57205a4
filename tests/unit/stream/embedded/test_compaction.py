"""A compacted topic of the embedded log keeps the newest record of each key, however old, and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.embedded.log import Log
from stream.embedded.tail import LogTail
from stream.records import TP, Outgoing


def kept(log, topic="models"):
    return [(each.offset, each.key, each.value) for each in log.fetch({TP(topic, 0): 0}, 10_000)]


@given(
    batches=st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", None]), min_size=1, max_size=3), max_size=12)
)
@settings(max_examples=10)
def test_the_newest_of_each_key_stays_under_its_offset_and_the_log_shrinks(tmp_path_factory, batches):
    log = Log(tmp_path_factory.mktemp("log"))
    log.ensure_topic("models", retention_ms=-1)  # all of it is old
    log.compact("models")
    newest, rows = {}, []
    offset = 0
    for keys in batches:
        log.append("models", [Outgoing(key, b"%d" % (offset + at)) for at, key in enumerate(keys)])
        newest.update({key: offset + at for at, key in enumerate(keys)})
        rows.append(keys)
        offset += len(keys)
    log.retain()
    found = kept(log)
    assert {(offset, key, b"%d" % offset) for key, offset in newest.items()} <= set(found)
    needed = sum(1 for at, keys in enumerate(rows) if set(keys) - set().union(*rows[at + 1 :]))
    assert log.connection().execute("SELECT count(*) FROM batches").fetchone() == (needed,)
    assert log.end_offsets("models") == {0: offset}
    assert log.retain() == 0
    log.close()


def test_other_topics_are_not_compacted(tmp_path):
    log = Log(tmp_path)
    log.compact("models")
    for topic in ("models", "labels"):
        for number in range(3):
            log.append(topic, [Outgoing(b"k", b"%d" % number)])
    assert log.retain() == 2
    assert [value for _, _, value in kept(log, "labels")] == [b"0", b"1", b"2"]
    assert kept(log) == [(2, b"k", b"2")]


def test_bytes_are_counted_without_what_was_dropped(tmp_path):
    log = Log(tmp_path)
    log.compact("models")
    log.append("models", [Outgoing(b"k", bytes(100))])
    (one,) = log.connection().execute("SELECT bytes FROM ends").fetchone()
    for _ in range(20):
        log.append("models", [Outgoing(b"k", bytes(100))])
    assert log.retain() == 20
    assert log.connection().execute("SELECT bytes FROM ends").fetchone() == (one,)


def test_a_log_that_was_made_before_there_was_compaction_is_compacted_now(tmp_path):
    log = Log(tmp_path)
    log.ensure_topic("models")
    log.connection().execute("DROP TABLE compacted")
    log.close()
    again = Log(tmp_path)
    again.compact("models")
    for number in range(3):
        again.append("models", [Outgoing(b"k", b"%d" % number)])
    again.retain()
    assert len(kept(again)) == 1


def test_a_tail_reads_from_the_beginning_knows_the_end_and_follows(tmp_path, monkeypatch):
    monkeypatch.setattr("stream.embedded.tail.PAUSE_SECONDS", 0)
    log = Log(tmp_path)
    log.compact("models")
    for number in range(3):
        log.append("models", [Outgoing(b"k", b"%d" % number)])
    log.retain()
    log.append("labels", [Outgoing(b"k", b"other")])
    tail = LogTail(Log(tmp_path), "models")
    assert not tail.at_end()
    assert [each.value for each in tail.read()] == [b"2"]
    assert tail.at_end()
    assert tail.read() == []
    log.append("models", [Outgoing(b"k", b"3")])
    assert [each.value for each in tail.read()] == [b"3"]
    tail.rewind()
    assert [each.value for each in tail.read()] == [b"2", b"3"]


def test_a_tail_of_an_empty_topic_is_at_its_end(tmp_path):
    assert LogTail(Log(tmp_path), "models").at_end()
