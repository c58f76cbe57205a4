"""What the profile wants of the topics, and what is told of those that are otherwise."""

import msgspec
import pytest

from features.profile import SHIPPED, ProfileError, load
from features.topic_settings import TopicSettings, looks_back_us
from stream.topics import KEYED, Topic, changes, differences, missing, wanted

DAY_US = 86_400_000_000
PROFILE = load("payments")
TEXT = (SHIPPED / "payments.toml").read_text()


def by_name(topics):
    return {topic.name: topic for topic in topics}


def profile_with(tmp_path, table):
    file = tmp_path / "mine.toml"
    file.write_text(f"{TEXT}\n[topics]\n{table}\n")
    return load(file)


def test_keyed_topics_have_one_number_of_partitions_and_the_tenants_prefix():
    topics = by_name(wanted(TopicSettings(partitions=7), "acme."))
    assert {topics["acme." + name].partitions for name in KEYED} == {7}


def test_dead_letters_and_snapshots_may_be_larger_than_events_and_snapshots_are_compacted():
    topics = by_name(wanted(TopicSettings()))
    assert int(topics["transactions.dlq"].settings["max.message.bytes"]) == 2_000_000
    assert topics["models"].settings["cleanup.policy"] == "compact"
    assert int(topics["models"].settings["max.message.bytes"]) == 8_000_000


def test_the_topic_of_rates_is_wanted_where_a_profile_converts_and_keeps_every_rate_that_was_not_corrected():
    assert "rates" not in by_name(wanted(TopicSettings()))
    rates = by_name(wanted(TopicSettings(retention_us=2 * DAY_US), converts=True))["rates"]
    assert rates.partitions == 1
    assert rates.settings == {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(2 * DAY_US // 1_000),
        "message.timestamp.type": "LogAppendTime",
    }


@pytest.mark.parametrize(("copies", "insync"), [(None, None), (1, None), (3, "2")])
def test_three_copies_ask_for_two_before_a_record_counts_as_written(copies, insync):
    topics = wanted(TopicSettings(replication=copies))
    assert {topic.settings.get("min.insync.replicas") for topic in topics} == {insync}


def test_events_are_kept_as_long_as_the_features_look_back(tmp_path):
    assert PROFILE.topics.retention_us == 30 * DAY_US == looks_back_us(PROFILE.features)
    handbook = load("handbook")
    assert handbook.topics.retention_us == 90 * DAY_US == looks_back_us(handbook.features)


def test_the_profile_says_otherwise(tmp_path):
    topics = profile_with(tmp_path, 'partitions = 12\nreplication = 3\nretention = "2d"').topics
    assert topics == TopicSettings(
        partitions=12,
        replication=3,
        retention_us=2 * DAY_US,
        alerts_retention_us=2 * DAY_US,
        dead_letter_retention_us=4 * DAY_US,
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('retention = "soon"', "retention 'soon' is not a duration"),
        ("partitions = 0", "partitions must be a whole number above 0"),
        ("partition = 3", "'partition' is no key of .topics., did you mean|'partition' is no key"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(tmp_path, table, said):
    with pytest.raises(ProfileError, match=said) as refused:
        profile_with(tmp_path, table)
    assert refused.value.line == len(TEXT.splitlines()) + 3


def test_what_is_missing_and_what_differs_is_told_and_only_settings_are_changed():
    want = wanted(TopicSettings(partitions=4, replication=3))
    found = by_name(msgspec.structs.replace(each, settings={**each.settings, "other": "x"}) for each in want)
    del found["alerts"]
    found["labels"] = Topic("labels", 2, 1, {**found["labels"].settings, "retention.ms": "1"})
    assert [each.name for each in missing(want, found)] == ["alerts"]
    differing = differences(want, found)
    assert [(each.topic, each.what, each.found) for each in differing] == [
        ("labels", "partitions", "2"),
        ("labels", "replication", "1"),
        ("labels", "retention.ms", "1"),
    ]
    assert changes(differing) == {"labels": {"retention.ms": "2592000000"}}
