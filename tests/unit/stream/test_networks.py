"""Networks on the topic: the newest that can be used; one that cannot is refused with the reason, and the one before stays."""

import logging
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import Artifact
from models.manifest import ArtifactError
from models.snapshot import SnapshotError
from stream.contest import Published
from stream.networks import (
    MODEL,
    Networks,
    SequenceFeed,
    fitting,
    release,
    signed,
    standing,
    trusted_folder,
)
from stream.signing import LARGEST, Release, SignatureError, Signer, TooLarge, opened, opened_release
from stream.signing import signer_of_manifest as signer_of
from tests.unit.models.artifacts import HASHES, artifact
from tests.unit.stream.models_fakes import Machine, Topic, snapshot

KEY = MODEL.encode()
MADE = artifact()
OTHER = artifact(seed=4)
SIGNER = Signer(bytes(range(32)))
AT = "2026-03-02T00:00:00+00:00"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "keys").learner()


@pytest.fixture
def contest(machine):
    return Networks(machine.trusted(), HASHES, "card")


def released(number, made=MADE, name=MODEL):
    return Release(name, number, AT, made if isinstance(made, bytes) else made.pack())


def envelope(machine, *said, **other):
    return machine.key.signer().sign_release(released(*said, **other))


def said(contest, *values, key=KEY):
    """The version that is in use after these records, read at once."""
    topic = Topic()
    for value in values:
        topic.put(value, key)
    contest.take(topic.records)
    return contest.newest and contest.newest.version


def test_before_the_first_network_there_is_none(contest):
    assert contest.newest is None


def test_the_newest_network_is_used_and_tells_its_id(contest, machine):
    assert said(contest, envelope(machine, 1), envelope(machine, 2, OTHER)) == "sequence-2"
    assert contest.newest.manifest == OTHER.manifest
    assert contest.newest.scorer.features == OTHER.manifest.features


def changed(value):
    return value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda m: changed(envelope(m, 2)), "changed or cut short"),
        (lambda m: envelope(m, 2)[:-50], "changed or cut short"),
        (lambda m: b"", "no signed snapshot"),
        (lambda m: MADE.pack(), "no signed snapshot"),
        (lambda m: SIGNER.sign_release(released(2)), "not among the trusted"),
        (lambda m: m.sign(snapshot(2), MODEL), "is of format 1, this Weir reads format 2 here"),
        (lambda m: envelope(m, 2, name="other"), "is of the model 'other', and stands under"),
        (lambda m: envelope(m, 2, b"nothing"), "no network of Weir"),
        (lambda m: envelope(m, 2, changed(MADE.pack())), "does not match its digest"),
        (
            lambda m: envelope(m, 2, artifact(entity="merchant")),
            "reads the events of a merchant, and the profile",
        ),
        (
            lambda m: envelope(m, 2, artifact(hashes=HASHES | {"gap": "g0"})),
            "reads gap, which measures something else now",
        ),
    ],
)
def test_one_that_cannot_be_used_is_refused_with_the_reason_and_the_one_before_stays(
    contest, machine, caplog, bad, why
):
    said(contest, envelope(machine, 1))
    with caplog.at_level(logging.ERROR):
        assert said(contest, bad(machine)) == "sequence-1"
    assert "is refused and sequence-1 stays: " in caplog.text
    assert why in caplog.text
    assert contest.refused == 1
    assert said(contest, envelope(machine, 3)) == "sequence-3"


def test_an_older_one_that_is_sent_again_is_refused(contest, machine, caplog):
    old = envelope(machine, 4)
    assert said(contest, old, envelope(machine, 5)) == "sequence-5"
    assert said(contest, old) == "sequence-5"
    assert "sequence-4 (made 2026" in caplog.text
    assert contest.refused == 1


def test_a_number_that_comes_with_another_network_is_refused_and_the_same_again_is_no_news(contest, machine):
    said(contest, envelope(machine, 4))
    assert said(contest, envelope(machine, 4)) == "sequence-4"
    assert contest.refused == 0
    said(contest, envelope(machine, 4, OTHER))
    assert contest.refused == 1
    assert contest.newest.manifest == MADE.manifest


def test_who_knows_snapshots_alone_refuses_a_network_by_its_format(machine):
    with pytest.raises(
        SnapshotError, match="is of format 2, this Weir reads format 1 here: start the scorers"
    ):
        opened(envelope(machine, 1), machine.trusted().key)


def test_a_signature_of_an_envelope_is_none_of_another_format_or_of_a_manifest():
    """One head for all would let a signed statement be read as something else."""
    value = SIGNER.sign_release(released(1))
    as_snapshot = value[:11] + b"\x01" + value[12:]
    with pytest.raises(SignatureError, match="changed or cut short"):
        opened(as_snapshot, lambda _: SIGNER.public)
    with pytest.raises(SignatureError, match="no signature"):
        signer_of(value[:84], value[84:], lambda _: SIGNER.public)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_byte_of_an_envelope_is_noticed(data):
    value = bytearray(SIGNER.sign_release(released(1)))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SnapshotError):
        opened_release(bytes(value), lambda _: SIGNER.public)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60) | st.builds(lambda f: SIGNER.sign_release(released(1, f)), st.binary(max_size=60))
)
def test_whatever_stands_there_and_whoever_signed_it_a_reader_of_the_topic_lives_on(tmp_path_factory, value):
    machine = Machine(tmp_path_factory.getbasetemp() / "fuzzed")
    machine.trusted().add(SIGNER.public)
    contest = Networks(machine.trusted(), HASHES, "card")
    assert said(contest, value) is None
    assert contest.refused == 1


def test_a_network_that_is_too_large_for_the_topic_says_so():
    with pytest.raises(
        TooLarge, match=r"sequence-1 has 7,996,.* topic takes 7,995,904.* Train it with a smaller width"
    ):
        SIGNER.sign_release(released(1, bytes(LARGEST)))


# --- the feed


def eventually(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_feed_starts_with_what_stands_there_follows_and_tells_what_it_refused(contest, machine):
    topic = Topic()
    topic.put(envelope(machine, 1), KEY)
    feed = SequenceFeed(topic.tail, contest)
    assert feed.newest().version == "sequence-1"
    topic.put(b"", KEY)
    topic.put(envelope(machine, 2, OTHER), KEY)
    eventually(lambda: feed.newest().version == "sequence-2")
    assert {each.name: (each.value, dict(each.labels)) for each in feed.readings()} == {
        "weir_networks_refused": (1, {}),
        "weir_network_info": (1, {"version": "sequence-2", "network": OTHER.manifest.network}),
    }
    feed.close()


def test_snapshots_and_networks_on_one_topic_do_not_disturb_each_other(machine, contest):
    from stream.champion import Contest

    topic = Topic()
    topic.put(machine.sign(snapshot(1)), b"null")
    topic.put(envelope(machine, 1), KEY)
    champions = Published(topic.tail, Contest(machine.trusted(), "f", {"a": "a1", "b": "b1"}, "null"))
    feed = SequenceFeed(topic.tail, contest)
    assert (champions.newest().version, feed.newest().version) == ("null-1", "sequence-1")
    assert (champions.refused, feed.refused) == (0, 0)
    champions.close()
    feed.close()


# --- publishing


def publish(machine, topic, made=MADE):
    return release(made, machine.key.signer(), topic, "models", topic.tail, machine.trusted())


def test_every_network_gets_the_next_number_whatever_a_stranger_wrote(machine):
    topic = Topic()
    assert publish(machine, topic).number == 1
    topic.put(SIGNER.sign_release(released(900)), KEY)
    topic.put(machine.sign(snapshot(70)), b"null")
    assert publish(machine, topic, OTHER).number == 2
    found = standing(topic.tail, machine.trusted())
    assert [each.signed and each.signed.snapshot.number for each in found] == [1, None, 2]
    assert "not among the trusted" in found[1].refusal
    assert found[1].place == "models[0]@1"


def test_of_two_who_publish_at_once_the_second_is_told(machine):
    topic = Topic()

    class Late:
        """Somebody else's record comes in between."""

        def publish(self, name, records):
            topic.put(envelope(machine, 1, OTHER), KEY)
            topic.publish(name, records)

    with pytest.raises(SnapshotError, match="somebody else published sequence-1 at the same time"):
        release(MADE, machine.key.signer(), Late(), "models", topic.tail, machine.trusted())


# --- folders


def test_a_folder_is_read_where_a_trusted_key_signed_it(machine, tmp_path):
    signed(MADE, machine.key.signer()).save(tmp_path / "it")
    made, key_id = trusted_folder(tmp_path / "it", machine.trusted())
    assert (made.manifest, key_id) == (MADE.manifest, machine.key.signer().public.id)
    assert Artifact.unpack(made.pack()).signature == made.signature


@pytest.mark.parametrize(
    ("sign", "why"),
    [
        (lambda made, machine: made, "is not signed: `weir models publish` signs"),
        (lambda made, machine: signed(made, SIGNER), "not among the trusted ones"),
        (
            lambda made, machine: msgspec.structs.replace(
                made, signature=signed(OTHER, machine.key.signer()).signature
            ),
            "changed or cut short after the key",
        ),
        (lambda made, machine: msgspec.structs.replace(made, signature=b"weir"), "no signature of Weir"),
        (
            lambda made, machine: msgspec.structs.replace(
                made, signature=b"weir-sign1\n\x07" + signed(made, machine.key.signer()).signature[12:]
            ),
            "of format 7",
        ),
    ],
)
def test_a_folder_that_nobody_signed_or_somebody_else_is_refused(machine, tmp_path, sign, why):
    sign(MADE, machine).save(tmp_path / "it")
    with pytest.raises(SignatureError if "format" not in why else SnapshotError, match=why):
        trusted_folder(tmp_path / "it", machine.trusted())


def test_a_revoked_key_signs_nothing_any_more(machine, tmp_path):
    signed(MADE, machine.key.signer()).save(tmp_path / "it")
    trusted = machine.trusted()
    trusted.revoke(machine.key.signer().public.id)
    with pytest.raises(SignatureError, match="which was revoked"):
        trusted_folder(tmp_path / "it", trusted)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_a_signature_is_noticed(data):
    made = signed(MADE, SIGNER)
    signature = bytearray(made.signature)
    signature[data.draw(st.integers(0, len(signature) - 1))] ^= data.draw(st.integers(1, 255))

    def key_of(key_id):
        if key_id != SIGNER.public.id:
            raise SignatureError("not trusted")
        return SIGNER.public

    with pytest.raises(SnapshotError):
        signer_of(bytes(signature), made.manifest_bytes, key_of)
    assert signer_of(made.signature, made.manifest_bytes, key_of) == SIGNER.public.id


def test_a_network_fits_the_profile_whose_events_are_in_order_by_its_entity():
    assert fitting(MADE, HASHES, "card").features == MADE.manifest.features
    with pytest.raises(ArtifactError, match="keeps those of a None in order"):
        fitting(MADE, HASHES, None)
