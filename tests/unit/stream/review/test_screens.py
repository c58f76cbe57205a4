"""What an analyst sees."""

import re

import pytest

from stream.decisions import ConvertedRecord, ReasonRecord
from stream.review.screens import PAGES, bars
from tests.contract.ledger_records import alert, label, of_alerts, on_log


@pytest.fixture
def alerted(recorder):
    recorder.record(
        [
            *of_alerts(alert("e1", score=0.912), alert("e2", score=0.3, entities={"shop": "<b>&Co"})),
        ]
    )


def test_the_queue_shows_each_alert_with_its_reasons_in_words(client, alerted):
    page = client.get("/").text
    assert "<b>91.2</b>" in page
    assert "12.50 EUR" in page
    assert "2026-01-01 12:00:00" in page
    assert "the amount of this event" in page
    assert page.count('data-verdict="fraud"') == 2


def test_the_strip_on_top_says_how_many_times_the_fraud_rate_an_alert_is(client, recorder, alerted):
    assert '<b data-stat="lift">-</b> the fraud rate' in client.get("/").text
    recorder.record(on_log("labels", label("e1"), label("e8", False), label("e9", False)))
    assert '<b data-stat="lift">3.0 x</b> the fraud rate' in client.get("/").text


def test_an_empty_queue_says_so(client):
    assert "Nothing waits for you" in client.get("/").text
    assert "Nothing was settled as fraud yet" in client.get("/?state=fraud").text


def test_settled_alerts_stand_under_their_verdict_with_who_said_so(client, queue, recorder, alerted):
    queue.give("alert-e1", "fraud")
    recorder.record(on_log("labels", label("e2", False)))
    assert "said by analyst" in client.get("/?state=fraud").text
    assert "said by chargeback" in client.get("/cases?state=legitimate").text
    assert "Nothing waits" in client.get("/cases").text


def test_a_case_shows_every_feature(client, alerted):
    page = client.get("/case/alert-e1").text
    assert "alert-e1" in page
    assert "from 50.0 % on" in page
    assert "<code>amount</code>" in page
    assert ">none<" in page
    missing = client.get("/case/alert-%3Cscript%3E")
    assert missing.status_code == 404
    assert "&lt;script&gt;" in missing.text


def test_a_case_shows_what_was_paid_where_the_amount_was_converted(client, recorder):
    before = ConvertedRecord(1357, "USD", "0.9213", "2026-01-01T14:15:00+00:00")
    recorder.record(of_alerts(alert("e1", converted_from=before), alert("e2")))
    shown = " ".join(client.get("/case/alert-e1").text.split())
    assert "<dt>paid</dt><dd>13.57 USD, at 0.9213 of" in shown
    assert "<h1>12.50 EUR</h1>" in shown
    assert "<dt>paid</dt>" not in client.get("/case/alert-e2").text


def test_what_an_event_holds_is_shown_and_never_run(client, recorder, alerted):
    evil = '"><script>alert(1)</script>'
    recorder.record(of_alerts(alert(evil, entities={evil: evil}), first=2))
    for page in (client.get("/").text, client.get("/cases").text, client.get(f"/case/alert-{evil}").text):
        assert "<script>alert" not in page
    assert "&lt;b&gt;&amp;Co" in client.get("/").text
    assert 'href="/case/alert-%22%3E%3Cscript%3E' in client.get("/").text


@pytest.mark.parametrize("name", ["a/b", "a?b#c", "../../etc", "ü €", "a b+c", "a/verdict"])
def test_a_case_is_found_by_its_link_whatever_the_id_holds(client, recorder, name):
    recorder.record(of_alerts(alert(name)))
    (link,) = re.findall(r'href="(/case/[^"]+)"', client.get("/cases").text)
    assert "/" not in link.removeprefix("/case/")
    assert client.get(link).status_code == 200


def test_the_pages_hold_no_inline_script_or_style_and_ask_nobody_else(client, alerted):
    for page in ("/", "/case/alert-e1"):
        text = client.get(page).text
        assert not re.findall(r"<script(?![^>]* src=)[^>]*>|\son\w+=|\sstyle=|<style", text)
        assert not re.findall(r'(?:src|href)="(?!/)', text)
    for file in (PAGES / "static").iterdir():
        found = re.findall(r"https?://[^\s\"']+", file.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, file


def test_static_files_are_served_with_their_types(client):
    assert "javascript" in client.get("/static/weir.js").headers["content-type"]
    assert "css" in client.get("/static/weir.css").headers["content-type"]
    assert client.get("/static/../queue.html").status_code == 404
    assert client.get("/static/%2e%2e/queue.html").status_code == 404


def test_bars_are_relative_to_the_strongest_reason():
    made = [ReasonRecord("a", 1.0, -2.0), ReasonRecord("b", 1.0, 1.0), ReasonRecord("c", 1.0, 0.0)]
    assert [length for _, length in bars(made)] == [100, 50, 0]
    assert bars([]) == []
    assert bars([ReasonRecord("a", 1.0, 0.0)])[0][1] == 0
