"""The score role: every record of a chunk ends in a decision, a label applied, or a dead letter."""

from base64 import b64decode

import msgspec
import pytest

from features.profile import load
from features.store import Source
from stream.champion import Pinned
from stream.codec import Codec
from stream.emit import Emitter
from stream.grounds import Basis, Ground
from stream.keyring import Keyring, opened
from stream.letters import AsItCame, LetterOffice, as_it_came
from stream.pipeline import Champion, Pipeline
from stream.records import TP, Record
from stream.runs import Taken
from stream.score import ScoreRole
from stream.sealing import Sealer, SealError
from tests.unit.stream.fakes import AmountScorer, AmountStore, InMemoryKeys

PERSON = "card_000001234"
SEALER = Sealer(bytes(range(32)))


@pytest.fixture
def keys():
    return InMemoryKeys()


@pytest.fixture
def role(keys):
    profile = load("payments")
    emitter = Emitter(
        names=("amount", "seen"),
        entities=profile.entities,
        personal=profile.personal,
        features_version="f",
        pseudonym=SEALER.pseudonym,
        partition_by=profile.partition_by,
    )
    return ScoreRole(
        Codec(profile),
        Pipeline(AmountStore()),
        emitter,
        Pinned(Champion(AmountScorer(), "amount-1", 0.5)),
        LetterOffice(SEALER, "card"),
        Keyring(keys, SEALER),
    )


def on_log(*values, topic="transactions"):
    headers = (("arrived", b"1767312000000000"),)
    return [
        Record(topic, 0, at, PERSON.encode(), msgspec.json.encode(v), headers, 0)
        for at, v in enumerate(values)
    ]


def payment(event_id, amount=10.0):
    return {
        "id": event_id,
        "at": "2026-01-01T23:59:00Z",
        "card": PERSON,
        "merchant": "shop",
        "device": "phone",
        "country": "FR",
        "channel": "chip",
        "amount": amount,
        "currency": "EUR",
    }


def test_a_chunk_becomes_decisions_alerts_and_dead_letters_in_order(role):
    outputs = role.run(on_log(payment("a"), payment("b", amount=99.0), {"id": "c"}, payment("d")))
    decided = [msgspec.json.decode(each.value)["event_id"] for each in outputs["decisions"]]
    assert decided == ["a", "b", "d"]
    (alert,) = [msgspec.json.decode(each.value) for each in outputs["alerts"]]
    assert (alert["event_id"], alert["alert_id"]) == ("b", "alert-b")
    assert len(outputs["transactions.dlq"]) == 1
    assert role.counts == {"fresh": 3, "alerts": 1, "dead_letters": 1}


def answered(role, *taken):
    work = role.prepare(*taken)
    work.seal()
    work.apply()
    return role.answer(work)


def test_a_chunk_says_to_the_store_where_it_comes_from_even_if_nothing_of_it_can_be_used(role):
    source = Source("transactions", 0, 7, 9)
    work = role.prepare(Taken(on_log({"id": "c"}, {"id": "d"}), source))
    work.apply()
    assert (work.events, role.positions()) == ([], {TP("transactions", 0): 9})


def test_runs_of_several_partitions_are_one_batch_in_their_order(role):
    runs = [
        Taken(on_log(payment("a"), {"id": "?"}), Source("transactions", 0, 0, 2)),
        Taken([], Source("transactions", 1, 0, 4)),
        Taken(on_log(payment("b")), Source("transactions", 2, 0, 1)),
    ]
    outputs = answered(role, *runs)
    assert [msgspec.json.decode(each.value)["event_id"] for each in outputs["decisions"]] == ["a", "b"]
    assert len(outputs["transactions.dlq"]) == 1
    assert role.positions() == {TP("transactions", part): at for part, at in enumerate((2, 4, 1))}


def test_nothing_that_is_written_names_a_person_but_by_a_keyed_hash(role):
    outputs = role.run(on_log(payment("a", amount=99.0)))
    for topic in ("decisions", "alerts"):
        (record,) = outputs[topic]
        assert PERSON.encode() not in record.value
        assert PERSON.encode() not in record.key
        assert msgspec.json.decode(record.value)["entities"]["card"] == SEALER.pseudonym("card", PERSON)


def test_a_decision_says_all_that_made_it(role):
    (record,) = role.run(on_log(payment("a", amount=99.0)))["decisions"]
    made = msgspec.json.decode(record.value)
    assert (made["model_version"], made["threshold"], made["rung"]) == ("amount-1", 0.5, "river")
    assert made["features"] == {"amount": 9900.0, "seen": 1.0}
    assert made["v"] == 1


def test_a_label_is_applied_and_answered_by_nothing(role):
    said = {
        "label_id": "l1",
        "event_id": "a",
        "label": "fraud",
        "source": "test",
        "labelled_at": "2026-01-01T00:00:00+00:00",
        "v": 1,
    }
    assert role.run(on_log(said, topic="labels")) == {}
    assert role.counts == {"labels": 1}


def test_a_refused_event_is_buried_and_its_neighbours_keep_their_own_answers(role):
    outputs = role.run(on_log(payment("a"), payment("a", amount=55.0), payment("b", amount=99.0)))
    assert [msgspec.json.decode(each.value)["event_id"] for each in outputs["decisions"]] == ["a", "b"]
    (letter,) = outputs["transactions.dlq"]
    assert "'a'" in dict(letter.headers)["reason"].decode()


def test_what_is_condemned_is_not_looked_at_and_becomes_a_dead_letter(role, keys):
    source = Source("transactions", 0, 0, 1)
    outputs = answered(role, Taken(on_log(payment("a")), source, "it ends workers"))
    sealed = outputs["transactions.dlq"][0].value
    assert list(outputs) == ["transactions.dlq"]
    assert dict(outputs["transactions.dlq"][0].headers)["reason"] == b"it ends workers"
    assert role.positions() == {TP("transactions", 0): 1}
    assert opened(keys, SEALER, [sealed]).open(sealed)
    keys.forget(SEALER.pseudonym("card", PERSON), at_us=0)
    with pytest.raises(SealError, match="forgotten"):
        opened(keys, SEALER, [sealed]).open(sealed)


def envelope_in(record):
    return b64decode(msgspec.json.decode(record.value)["sealed"]["card"])


def test_decision_and_alert_carry_what_is_personal_sealed_for_its_person(role, keys):
    outputs = role.run(on_log(payment("a", amount=99.0), payment("b")))
    for record in (*outputs["decisions"], *outputs["alerts"]):
        sealed = envelope_in(record)
        assert opened(keys, SEALER, [sealed]).open(sealed) == PERSON.encode()
        assert list(msgspec.json.decode(record.value)["sealed"]) == ["card"]
    keys.forget(SEALER.pseudonym("card", PERSON), at_us=0)
    with pytest.raises(SealError, match="forgotten"):
        opened(keys, SEALER, [sealed]).open(sealed)


def test_a_chunk_asks_for_its_peoples_keys_once(role, keys):
    role.run(on_log(*(payment(f"e{number}") for number in range(50)), {"id": "bad"}))
    assert [what for what, _ in keys.asked] == ["forgotten", "find", "make"]
    keys.asked.clear()
    role.run(on_log(*(payment(f"f{number}") for number in range(50))))
    assert keys.asked == []


def test_what_arrived_before_its_person_was_forgotten_carries_nothing_sealed(role, keys):
    keys.forget(SEALER.pseudonym("card", PERSON), at_us=1767312000000000)
    (record,) = role.run(on_log(payment("a")))["decisions"]
    assert "sealed" not in msgspec.json.decode(record.value)


@pytest.mark.parametrize("bad", [[{"id": "c", "card": PERSON}], [payment("a"), payment("a", amount=5)], [[]]])
def test_a_dead_letter_is_sealed_for_its_person_with_a_keyed_hash_for_its_key(role, keys, bad):
    (letter,) = role.run(on_log(*bad))["transactions.dlq"]
    assert PERSON.encode() not in letter.key + letter.value
    assert letter.key.decode() == SEALER.pseudonym("card", PERSON)
    came = as_it_came(opened(keys, SEALER, [letter.value]), letter.value, None, SEALER.open)
    assert came == AsItCame(PERSON.encode(), msgspec.json.encode(bad[-1]))
    keys.forget(SEALER.pseudonym("card", PERSON), at_us=0)
    with pytest.raises(SealError, match="forgotten"):
        as_it_came(opened(keys, SEALER, [letter.value]), letter.value, None, SEALER.open)


def test_a_batch_rests_on_the_ground_that_it_was_prepared_on(keys, role):
    """The answer to one batch may come when the next one is already prepared on other ground."""
    first, second = AmountStore(), AmountStore()

    class Changing:
        now = Ground(first, Basis("old", ("seen",), "degraded"))

        def under(self, sources):
            self.asked = [*getattr(self, "asked", []), list(sources)]
            return self.now

    grounds = Changing()
    role._grounds = grounds
    source = Source("transactions", 0, 0, 1)
    work = role.prepare(Taken(on_log(payment("a")), source))
    grounds.now = Ground(second, Basis("f"))
    later = role.prepare(Taken(on_log(payment("b"))))
    for each in (work, later):
        each.seal()
        each.apply()
    rows = [msgspec.json.decode(role.answer(each)["decisions"][0].value) for each in (work, later)]
    assert [(row["features_version"], row["rung"], row.get("warming")) for row in rows] == [
        ("old", "degraded", ["seen"]),
        ("f", "river", None),
    ]
    assert role.rungs == {"degraded": 1, "river": 1}
    assert [len(store.batches) for store in (first, second)] == [1, 1]
    assert [[place[:4] for place in asked] for asked in grounds.asked] == [[source[:4]], []]
    assert role.positions() == {}


def test_a_scorer_reads_from_where_its_network_has_seen_the_log(role):
    class Networks:
        seen = None

        def written(self):
            return self.seen

    role._networks = networks = Networks()
    role.store.sources += [Source("transactions", 0, 0, 7), Source("labels", 0, 0, 5)]
    both = TP("transactions", 0), TP("labels", 0)
    assert role.positions() == dict(zip(both, (7, 5), strict=True))
    networks.seen = {("transactions", 0): 4}
    assert role.positions() == dict(zip(both, (4, 0), strict=True)), "of labels it has seen none"
