"""Analysts see whom an alert is about, opened for this look, and nothing of who was forgotten."""

from base64 import b64encode
from functools import partial

import pytest
from starlette.testclient import TestClient

from stream.envelope import Envelopes
from stream.keyring import Keyring, opened
from stream.probes import Probes
from stream.review.people import People
from stream.review.queue import ReviewQueue
from stream.review.web import make_app
from stream.sealing import Sealer
from stream.watch import RoleWatch
from tests.contract.ledger_records import PROFILE, SEALER, alert, of_alerts
from tests.unit.stream.review.conftest import ADDRESS, TOKEN

CARD = ("card", "4539 1234 5678 1234")
SHORT = "4539 12** **** 1234"


@pytest.fixture
def people(ledger):
    return People(ledger.engine, SEALER)


@pytest.fixture
def opener(people):
    return partial(opened, people, SEALER)


@pytest.fixture
def recorded(recorder, people):
    text = Keyring(people, SEALER).seals({CARD: 5})[CARD].text
    recorder.record(of_alerts(alert("e1", sealed={"card": text}), alert("e2", score=0.1)))


@pytest.fixture
def analyst(ledger, published, opener):
    app = make_app(
        ledger=ledger,
        publisher=published,
        profile=PROFILE,
        unseal=SEALER.open,
        opener=opener,
        prefix="",
        token=TOKEN,
        probes=Probes(RoleWatch("review")),
    )
    return TestClient(app, base_url=ADDRESS, headers={"authorization": f"Bearer {TOKEN}"})


def test_a_person_is_opened_for_pages_and_programs_a_card_number_never_whole(analyst, recorded):
    first, second = analyst.get("/api/v1/alerts").json()
    assert (first["people"], second["people"]) == ({"card": SHORT}, {})
    assert analyst.get("/api/v1/alerts/alert-e1").json()["people"] == {"card": SHORT}
    for path in ("/", "/cases", "/case/alert-e1"):
        page = analyst.get(path).text
        assert SHORT in page
        assert CARD[1] not in page
        assert CARD[1].replace(" ", "") not in page


def test_who_is_forgotten_shows_as_that_at_the_next_look(analyst, recorded, people):
    assert SHORT in analyst.get("/").text
    people.forget(SEALER.pseudonym(*CARD), 7)
    for path in ("/", "/case/alert-e1"):
        page = analyst.get(path).text
        assert SHORT not in page
        assert "<i>forgotten</i>" in page
    assert analyst.get("/api/v1/alerts/alert-e1").json()["people"] == {"card": None}


def test_the_keys_of_a_whole_page_are_asked_for_at_once(ledger, recorder, people):
    seals = Keyring(people, SEALER).seals({("card", f"c{n}"): 5 for n in range(40)})
    recorder.record(
        of_alerts(*(alert(f"e{n}", sealed={"card": s.text}) for n, s in enumerate(seals.values())))
    )
    asked = []

    def counting(sealed):
        asked.append(len(sealed))
        return opened(people, SEALER, sealed)

    shown = ReviewQueue(ledger, SEALER.open, counting).alerts(50)
    assert {case.people["card"] for case in shown} == {f"c{n}" for n in range(40)}
    assert asked == [40]


@pytest.mark.parametrize(
    "text",
    ["", "no base64", "AAAA", b64encode(Envelopes(Sealer(bytes(range(32)))).seal(b"x")).decode()],
    ids=["empty", "text", "short", "another master key"],
)
def test_what_cannot_be_opened_leaves_the_hash_and_the_rest_of_the_page(
    ledger, recorder, opener, text, caplog
):
    recorder.record(of_alerts(alert("e1", sealed={"card": text}), alert("e2", sealed={})))
    first, second = ReviewQueue(ledger, SEALER.open, opener).alerts()
    assert (first.people, second.people) == ({}, {})
    assert "card cannot be opened" in caplog.text
