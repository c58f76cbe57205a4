"""Reading Kafka's partitions from given offsets on, outside any group, as who fills a generation does."""

from contextlib import closing
from uuid import uuid4

from stream.broker import ensure_topics, publisher_for, reader_for
from stream.partition import partition_of
from stream.records import TP, Outgoing
from tests.contract.stopping import eventually


def test_each_partition_is_read_from_its_place_on_and_followed(kafka):
    url, topic = f"kafka://{kafka}", f"test-{uuid4().hex[:8]}"
    ensure_topics(url, {topic: 3})
    publisher = publisher_for(url)
    sent = {TP(topic, part): [] for part in range(3)}
    for number in range(300):
        value = b"%d" % number
        sent[TP(topic, partition_of(value, 3))].append(value)
    publisher.publish(topic, [Outgoing(each, each) for some in sent.values() for each in some])
    starts = {TP(topic, 0): 0, TP(topic, 1): 5, TP(topic, 2): len(sent[TP(topic, 2)])}
    ends = {tp: len(values) for tp, values in sent.items()}
    with closing(reader_for(url, starts)) as reader:
        assert reader.positions == starts
        read = {tp: [] for tp in sent}

        def more():
            for each in reader.fetch(50):
                read[TP(each.topic, each.partition)].append((each.offset, each.value))
            return reader.positions == ends

        eventually(more, "all is read")
        assert read == {tp: list(enumerate(sent[tp]))[starts[tp] :] for tp in sent}
        publisher.publish(topic, [Outgoing(b"more", b"more")])
        assert eventually(lambda: reader.fetch(50), "it follows")[0].value == b"more"
    publisher.close()
