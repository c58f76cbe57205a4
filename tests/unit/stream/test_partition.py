"""A key's partition is Kafka's, so that a stream may move between the logs."""

from hypothesis import given
from hypothesis import strategies as st

from stream.partition import murmur2, parted, partition_of
from stream.records import Outgoing


def test_the_hash_is_kafkas():
    """The vectors of Kafka's own UtilsTest.testMurmur2, and the empty key."""
    vectors = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
        b"": 275646681,
    }
    assert {key: murmur2(key) for key in vectors} == {key: hashed % 2**32 for key, hashed in vectors.items()}


def test_a_negative_hash_finds_its_place_as_kafka_does_it():
    assert partition_of(b"21", 3) == (-973932308 & 0x7FFFFFFF) % 3 != -973932308 % 3


def test_a_record_without_a_key_has_a_place_of_its_own():
    assert partition_of(None, 8) == 0


@given(st.lists(st.one_of(st.none(), st.binary(max_size=3)), max_size=30), st.integers(1, 5))
def test_records_are_parted_whole_in_order_and_by_key(keys, partitions):
    records = [Outgoing(key, b"%d" % number) for number, key in enumerate(keys)]
    groups = parted(records, partitions)
    assert (
        sorted((each for group in groups.values() for each in group), key=lambda each: int(each.value))
        == records
    )
    for part, group in groups.items():
        assert {partition_of(each.key, partitions) for each in group} == {part}
        assert [int(each.value) for each in group] == sorted(int(each.value) for each in group)
