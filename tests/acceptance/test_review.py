"""The review process, as a browser and a program meet it: real processes on the embedded log, real HTTP."""

import fcntl
import json
import signal
import socket
import stat
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest

from features.events import to_us
from stream.decisions import ALERTS, DECISIONS
from stream.emit import now_text
from stream.records import Outgoing
from stream.wire import encode
from tests.acceptance.harness import append, eventually, log_of, rows, stop
from tests.contract.ledger_records import alert, decision

NAMES = ("e1", "e2", "odd/one?#%2e €")
PAYMENT = {
    "id": "posted-1",
    "amount": "12.50",
    "currency": "EUR",
    "card": "4111111111111111",
    "merchant": "m-7",
    "device": "d-1",
    "channel": "web",
    "country": "FR",
}


class Visitor:
    """Somebody with the printed link."""

    def __init__(self, link):
        self.address, _, self.token = link.partition("/?token=")

    def ask(self, path, body=None, **headers):
        """Status, answer and headers."""
        if not headers:
            headers = {"authorization": f"Bearer {self.token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"content-type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode(), refusal.headers

    def json(self, path, body=None):
        status, text, _ = self.ask(path, body)
        assert status == 200, f"{path}: {status} {text}"
        return json.loads(text)


@pytest.fixture
def review(home, started):
    """Starts a review process; gives it and somebody with its link."""

    def start(*more):
        file = home / "review.url"
        file.unlink(missing_ok=True)
        process = started("review", *more, directory=home)
        link = eventually(lambda: file.exists() and file.read_text(), "the link is there")
        visitor = Visitor(link)
        eventually(lambda: _answers(visitor), "it answers")
        return process, visitor

    return start


def _answers(visitor):
    try:
        return visitor.ask("/healthz")[0] == 200
    except urllib.error.URLError:
        return False


def on_the_stream(home):
    """Three alerts, as the score role sends them."""
    now = now_text()
    live = {"arrived_us": to_us(datetime.fromisoformat(now)), "decided_at": now}
    log = log_of(home)
    log.append(
        DECISIONS, [Outgoing(b"card-1", encode(decision(name, outcome="review", **live))) for name in NAMES]
    )
    log.append(ALERTS, [Outgoing(b"card-1", encode(alert(name))) for name in NAMES])
    log.close()


def test_an_alert_becomes_a_case_a_verdict_a_label_and_the_label_a_figure(home, started, review):
    process, analyst = review()
    started("worker", "--role", "record", directory=home)
    on_the_stream(home)
    eventually(lambda: analyst.json("/api/v1/stats")["open"] == 3, "the alerts are in the queue")
    page = analyst.ask("/")[1]
    assert page.count("data-alert=") == 3
    for case in analyst.json("/api/v1/alerts"):
        link = "/case/" + urllib.request.quote(case["alert"]["alert_id"], safe="")
        assert link in page
        assert analyst.ask(link)[0] == 200, link

    odd = urllib.request.quote(f"alert-{NAMES[2]}", safe="")
    analyst.json(f"/api/v1/alerts/{odd}/verdict", {"verdict": "fraud"})
    analyst.json("/api/v1/alerts/alert-e1/verdict", {"verdict": "fraud"})
    analyst.json("/api/v1/alerts/alert-e1/verdict", {"verdict": "legitimate"})
    labels = eventually(lambda: len(found := rows(home, "labels")) == 3 and found, "the verdicts are labels")
    assert [(each["event_id"], each["label"]) for each in labels] == [
        (NAMES[2], "fraud"),
        ("e1", "fraud"),
        ("e1", "legitimate"),
    ]
    assert labels[2]["reverses"] == labels[1]["label_id"]
    counted = {"open": 1, "labelled": 2, "alert_precision": 0.5}  # the last of them after the reversal only
    eventually(lambda: counted.items() <= analyst.json("/api/v1/stats").items(), "the labels are counted")
    assert stop(process) < 10
    assert not (home / "review.url").exists()


def test_a_verdict_that_was_not_sent_before_a_kill_is_sent_after_it(home, started, review):
    process, analyst = review()
    started("worker", "--role", "record", directory=home)
    on_the_stream(home)
    eventually(lambda: analyst.json("/api/v1/stats")["open"] == 3, "the alerts are in the queue")
    with (home / "log" / "write.lock").open("a") as nobody_appends:
        fcntl.flock(nobody_appends, fcntl.LOCK_EX)
        for name in ("e1", "e2"):
            analyst.json(f"/api/v1/alerts/alert-{name}/verdict", {"verdict": "fraud"})
        stop(process, signal.SIGKILL)
    assert rows(home, "labels") == []
    review()
    labels = eventually(lambda: rows(home, "labels"), "the labels are sent")
    assert [each["event_id"] for each in labels] == ["e1", "e2"]


def test_it_listens_on_this_machine_only_and_lets_in_who_has_the_link(home, review):
    process, analyst = review()
    (listening,) = [each for each in process.net_connections("tcp") if each.status == "LISTEN"]
    assert listening.laddr.ip == "127.0.0.1"
    for file in ("review.url", "keys/review.token"):
        assert stat.S_IMODE((home / file).stat().st_mode) == 0o600
    assert analyst.ask("/", accept="text/html")[0] == 401
    assert analyst.ask("/", authorization="Bearer wrong")[0] == 401
    own = {"authorization": f"Bearer {analyst.token}"}
    assert analyst.ask("/", host="evil.example", **own)[0] == 421
    assert (
        analyst.ask("/api/v1/alerts/x/verdict", {"verdict": "fraud"}, origin="http://evil.example", **own)[0]
        == 403
    )
    _, page, headers = analyst.ask("/")
    assert "Review queue" in page
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers


def test_the_token_survives_a_restart_and_a_second_one_takes_another_port(home, review):
    process, analyst = review()
    assert stop(process, signal.SIGINT) < 10
    _, again = review()
    assert again.token == analyst.token
    assert again.json("/api/v1/stats")["events"] == 0
    _, beside = review()
    assert beside.address != again.address
    assert (again.ask("/")[0], beside.ask("/")[0]) == (200, 200)


def test_a_port_that_is_taken_is_told_in_one_line(home, started):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = started("review", "--port", port, directory=home)
        assert process.wait(30) == 1
    said = Path(home / f"review---port-{port}.out").read_text()
    assert said.startswith(f"weir: port {port} of 127.0.0.1 cannot be had")
    assert "Traceback" not in said


def test_a_posted_event_is_scored_by_the_stream_and_answered_from_it(home, started, review):
    _, program = review()
    for role in ("score", "record"):
        started("worker", "--role", role, directory=home)
    append(home, "transactions", ({**PAYMENT, "id": "earlier", "at": now_text()}, ()))
    eventually(lambda: program.ask("/api/v1/decisions/earlier")[0] == 200, "the workers run")
    event = {**PAYMENT, "at": now_text()}
    decided = program.json("/api/v1/score", event)
    assert decided["event_id"] == "posted-1"
    assert "4111111111111111" not in json.dumps(decided)
    assert program.json("/api/v1/decisions/posted-1") == decided
    assert program.json("/api/v1/score", event) == decided
    assert len(rows(home, "transactions")) == 2
    assert program.ask("/api/v1/score", {**event, "amount": "NaN"})[0] == 422
    assert program.ask("/api/v1/score", {**event, "amount": "13.00"})[0] == 409
