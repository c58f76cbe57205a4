"""One command runs everything, finds fraud, stops within ten seconds, leaves no process, and goes on where it was."""

import json
import re
import signal
import urllib.request

import psutil

from tests.acceptance.harness import eventually, link_in, stop, weir


def told(home):
    """What `weir up` printed so far."""
    return "".join(path.read_text() for path in home.glob("up*.out"))


def page(link, path=""):
    """A page of the review process, with the token of the link."""
    address, _, token = link.partition("/?token=")
    request = urllib.request.Request(f"{address}/{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def stats(link):
    """The page's figures."""
    return json.loads(page(link, "api/v1/stats"))


def all_parts_are_told_on_one_page(link):
    """Of every role: that it is ready, what its stages took, and what it is behind."""
    told = {re.sub(r" [-+.\deInf]+$", "", line) for line in page(link, "metrics").splitlines()}
    ready = {line for line in page(link, "metrics").splitlines() if line.startswith("weir_ready{")}
    assert ready == {f'weir_ready{{role="{role}"}} 1.0' for role in ("score", "learn", "record", "review")}
    for role, stage in (("score", "decode"), ("score", "commit"), ("learn", "learn"), ("record", "record")):
        assert f'weir_stage_seconds_count{{role="{role}",stage="{stage}"}}' in told
    assert 'weir_lag_records{partition="0",role="score",topic="transactions"}' in told
    assert 'weir_decisions_by_rung_total{role="score",rung="river"}' in told
    assert 'weir_server_seconds_count{role="record",server="sql"}' in told
    assert 'process_start_time_seconds{role="learn"}' in told


def survivors(family):
    """Those of these processes that still run."""
    return [
        process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def connections_of(process):
    """Its connections; none once it has ended, as a helper process may at any time."""
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []


def test_up_finds_fraud_stops_clean_and_goes_on(home, started):
    up = started("up", "--demo", directory=home)
    link = eventually(lambda: link_in(told(home)), "the link to the queue is printed")
    found = eventually(
        lambda: (figures := stats(link))["alerts"] >= 20 and (figures["lift"] or 0) >= 5 and figures,
        "the alerts' precision is five times the fraud rate",
        seconds=240,
        pause=1,
    )
    assert "the fraud rate" in page(link)
    all_parts_are_told_on_one_page(link)
    eventually(lambda: 'data-alert="' in page(link), "an alert waits on the page", pause=1)

    family = [up, *up.children(recursive=True)]
    assert len(family) >= 7, [process.cmdline() for process in family]
    listening = [c for p in family for c in connections_of(p) if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    assert len(listening) == 1, "the review page's port, and no other"
    assert stop(up, signal.SIGINT) < 10
    assert survivors(family) == []
    assert up.returncode in (0, None)

    before = found["events"]
    again = started("up", "--demo", directory=home)
    link = eventually(lambda: link_in(told(home).rpartition("stopped")[2]), "the link is printed again")
    eventually(lambda: stats(link)["events"] > before, "it goes on where it was", pause=1)
    assert stop(again) < 10


def test_without_demo_it_waits_for_events_that_are_sent(home, started, payments, profile):
    up = started("up", "--profile", profile, directory=home)
    link = eventually(lambda: link_in(told(home)), "the link to the queue is printed")
    assert stats(link)["events"] == 0
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    eventually(lambda: stats(link)["events"] == 6_000, "all that was sent is decided and recorded")
    eventually(lambda: stats(link)["labelled"] == 6_000, "and labelled")
    second = started("up", directory=home)
    assert second.wait(20) == 1
    assert "another `weir up`" in told(home)
    assert stop(up) < 10
