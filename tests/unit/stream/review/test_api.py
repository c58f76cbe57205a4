"""The interface for programs."""

import asyncio

import msgspec
import pytest
from sqlalchemy.exc import OperationalError

from stream.codec import Codec
from stream.decisions import DecisionRecord
from stream.emit import now_text
from stream.records import ARRIVED, Record
from stream.review import posting
from tests.contract.ledger_records import (
    PROFILE,
    alert,
    dead_letter,
    decision,
    decision_of,
    label,
    of_alerts,
    on_log,
)

PAYMENT = {
    "id": "p1",
    "at": "2026-01-01T11:59:00Z",
    "amount": "12.50",
    "currency": "EUR",
    "card": "4111111111111111",
    "merchant": "m-7",
    "device": "d-1",
    "channel": "web",
    "country": "FR",
}


@pytest.fixture
def alerted(recorder):
    recorder.record(
        [
            *of_alerts(alert("e1", score=0.9), alert("e2/a?b#c", score=0.4)),
        ]
    )


def test_the_alerts_are_listed_and_a_state_may_be_asked_for(client, alerted):
    cases = client.get("/api/v1/alerts").json()
    assert [case["alert"]["event_id"] for case in cases] == ["e1", "e2/a?b#c"]
    assert cases[0]["state"] == "open"
    assert len(client.get("/api/v1/alerts?limit=1").json()) == 1
    assert client.get("/api/v1/alerts?state=fraud").json() == []


@pytest.mark.parametrize("asked", ["state=perhaps", "limit=0", "limit=501", "limit=many"])
def test_what_cannot_be_asked_for_is_refused(client, asked):
    assert client.get(f"/api/v1/alerts?{asked}").status_code == 422


def test_one_alert_comes_with_its_decision_whatever_its_id_holds(client, alerted):
    case = client.get("/api/v1/alerts/alert-e2%2Fa%3Fb%23c").json()
    assert case["decision"]["event_id"] == "e2/a?b#c"
    assert client.get("/api/v1/alerts/alert-e9").status_code == 404


def test_a_verdict_is_given_and_becomes_a_label_of_the_tenants_topic(app, client, alerted, published):
    with client:  # the outbox's thread runs, and empties the box when it ends
        answer = client.post("/api/v1/alerts/alert-e2%2Fa%3Fb%23c/verdict", json={"verdict": "fraud"})
    assert answer.json() == {"alert_id": "alert-e2/a?b#c", "state": "fraud"}
    ((topic, record),) = published.records
    assert topic == "shop.labels"
    assert msgspec.json.decode(record.value)["event_id"] == "e2/a?b#c"


@pytest.mark.parametrize(
    ("alert_id", "body", "status"),
    [
        ("alert-verdict", {"verdict": "fraud"}, 404),
        ("alert-e1", {"verdict": "perhaps"}, 422),
        ("alert-e1", {}, 422),
        ("alert-e1", {"verdict": 1}, 422),
    ],
)
def test_a_verdict_that_cannot_be_taken_says_why(client, alerted, alert_id, body, status):
    assert client.post(f"/api/v1/alerts/{alert_id}/verdict", json=body).status_code == status


def test_a_decision_comes_as_it_was_recorded(client, alerted):
    answer = client.get("/api/v1/decisions/e1")
    assert msgspec.json.decode(answer.content, type=DecisionRecord) == decision_of(alert("e1", score=0.9))
    assert client.get("/api/v1/decisions/unknown").status_code == 404


def test_the_statistics(client, recorder, alerted):
    recorder.record(on_log("labels", label("e1"), label("e8", False), label("e9", False)))
    found = client.get("/api/v1/stats").json()
    assert (found["events"], found["alerts"], found["open"]) == (2, 2, 1)
    assert found["lift"] == pytest.approx(3.0)


def test_metrics_are_what_prometheus_reads(client, recorder, alerted):
    recorder.record([dead_letter()])
    lines = client.get("/metrics").text.splitlines()
    assert 'weir_events_total{role="review"} 2.0' in lines
    assert "# TYPE weir_alerts_open gauge" in lines
    assert 'weir_dead_letters_kept{role="review"} 1.0' in lines
    assert 'weir_verdicts_unsent{role="review"} 0.0' in lines
    assert 'weir_server_up{role="review",server="sql"} 1.0' in lines


def test_ready_is_who_has_a_database_that_answers(client, ledger, monkeypatch):
    assert client.get("/readyz").json() == {"status": "ready"}

    def gone():
        raise OperationalError("SELECT", {}, OSError("gone"))

    monkeypatch.setattr(ledger, "counters", gone)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_the_description_names_every_route_and_what_it_answers_with(client):
    described = client.get("/api/v1/openapi.json").json()
    assert {
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/stats",
        "/api/v1/alerts",
        "/api/v1/alerts/{alert_id}",
        "/api/v1/alerts/{alert_id}/verdict",
        "/api/v1/decisions/{event_id}",
        "/api/v1/score",
    } == set(described["paths"])
    known = described["components"]["schemas"]
    assert {"Case", "Statistics", "DecisionRecord", "AlertRecord", "ReasonRecord"} <= set(known)
    text = client.get("/api/v1/openapi.json").text
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(known)


# --- POST /api/v1/score


@pytest.fixture
def worker(published, recorder):
    """Decides at once what is published, as the score role and the recorder would."""

    def decide(topic, records):
        for outgoing in records:
            event = Codec(PROFILE).decode(
                Record("transactions", 0, 0, outgoing.key, outgoing.value, outgoing.headers, 0)
            )
            made = decision(
                event.event_id, body=event.body.hex(), arrived_us=event.arrived_us, decided_at=now_text()
            )
            recorder.record(on_log("decisions", made, first=len(published.records)))

    published.then = decide


def test_a_posted_event_goes_through_the_stream_and_comes_back_decided(client, published, worker):
    answer = client.post("/api/v1/score", json=PAYMENT)
    assert answer.status_code == 200
    assert answer.json()["event_id"] == "p1"
    ((topic, record),) = published.records
    assert (topic, record.key) == ("shop.transactions", b"4111111111111111")
    assert msgspec.json.decode(record.value) == PAYMENT
    assert dict(record.headers)[ARRIVED].isdigit()


def test_the_same_event_again_gets_its_first_decision_without_another_record(client, published, worker):
    first = client.post("/api/v1/score", json=PAYMENT)
    assert client.post("/api/v1/score", json=PAYMENT).content == first.content
    assert len(published.records) == 1


def test_the_same_id_with_another_content_is_a_conflict(client, published, worker):
    client.post("/api/v1/score", json=PAYMENT)
    answer = client.post("/api/v1/score", json={**PAYMENT, "amount": "99.00"})
    assert answer.status_code == 409
    assert "another content" in answer.json()["detail"]
    assert len(published.records) == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (msgspec.json.encode({**PAYMENT, "amount": "much"}), "amount"),
        (msgspec.json.encode({**PAYMENT, "at": "2126-01-01T00:00:00Z"}), "at"),
        (msgspec.json.encode({name: value for name, value in PAYMENT.items() if name != "card"}), "card"),
    ],
)
def test_what_would_be_a_dead_letter_is_refused_at_the_door(client, published, body, named):
    answer = client.post("/api/v1/score", content=body)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]
    assert published.records == []


def test_an_event_that_is_too_long_is_refused_before_it_is_read_whole(client, published):
    assert client.post("/api/v1/score", content=b" " * 1_000_001).status_code == 413
    assert published.records == []


def test_an_event_that_is_not_decided_in_time_is_said_to_be_on_the_stream(ledger, published):
    desk = posting.Desk(ledger, published, PROFILE, patience_seconds=0.05)

    async def chunks():
        yield msgspec.json.encode(PAYMENT)

    with pytest.raises(posting.PostError, match="'p1' is on the stream, but no decision") as refusal:
        asyncio.run(desk.post(chunks()))
    assert refusal.value.status == 504
    assert int(refusal.value.headers["Retry-After"]) > 0
    assert len(published.records) == 1


def test_a_stream_that_takes_nothing_is_said_with_when_to_come_again(client, published):
    published.fault = OSError("no disk")
    answer = client.post("/api/v1/score", json=PAYMENT)
    assert answer.status_code == 503
    assert "send it again later" in answer.json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0


def test_beyond_so_many_that_wait_events_are_turned_away_before_they_are_on_the_stream(
    ledger, published, monkeypatch
):
    monkeypatch.setattr(posting, "MOST_WAITING", 3)
    desk = posting.Desk(ledger, published, PROFILE, patience_seconds=0.5)

    async def post(number):
        async def chunks():
            yield msgspec.json.encode({**PAYMENT, "id": f"p{number}"})

        try:
            await desk.post(chunks())
        except posting.PostError as refusal:
            return refusal.status

    async def all_at_once():
        return await asyncio.gather(*map(post, range(8))), await asyncio.gather(post(8))

    assert asyncio.run(all_at_once()) == ([504] * 3 + [503] * 5, [504])
    assert len(published.records) == 4


def test_in_a_simulation_a_posted_event_arrives_at_the_streams_own_time(client, recorder, published, worker):
    """It would drag the stream's clock along by years, and everything remembered would be forgotten."""
    recorder.record(on_log("decisions", decision("e1", decided_at="2031-01-01T00:00:00Z")))
    assert client.post("/api/v1/score", json=PAYMENT).status_code == 200
    ((_, record),) = published.records
    assert dict(record.headers)[ARRIVED] == b"%d" % decision("e1").arrived_us
    later = {**PAYMENT, "id": "p2", "at": "2026-09-01T00:00:00Z"}
    answer = client.post("/api/v1/score", json=later)
    assert answer.status_code == 422
