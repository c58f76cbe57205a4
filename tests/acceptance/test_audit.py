"""An audit of what the real scorer logged finds nothing; one forged value is found and named."""

import msgspec
import pytest

from stream.decisions import DECISIONS, LABELS, TRANSACTIONS
from stream.records import TP, Outgoing
from tests.acceptance.harness import eventually, log_of, rows, start, stop, weir

SOME = slice(900, 1_500)  # a fraud or two among them
EVENTS = 600
FORGED = "forged-"


@pytest.fixture
def decided(home, started, payments, profile):
    """A Weir in which some hundred payments were decided while labels of earlier ones came in."""
    some = home.parent / "some.jsonl"
    some.write_bytes(b"".join(payments.read_bytes().splitlines(keepends=True)[SOME]))
    worker = started("worker", "--role", "score", "--profile", profile, directory=home)
    weir("send", some, "--profile", profile, "--label-delay", "6h", directory=home)
    eventually(lambda: len(rows(home, DECISIONS)) >= EVENTS, "every event was decided")
    stop(worker)
    return home


def audit(home, profile, *more):
    """The report, and the exit status."""
    process = start(
        "features", "audit", "--profile", profile, "--sample", "1", "--json", *more, directory=home
    )
    status = process.wait(60)
    [output] = home.glob("features-audit*.out")
    told = msgspec.json.decode(output.read_bytes())
    output.unlink()
    return told, status


def forge(home, number, name):
    """The same log under another prefix, but for one feature of one decision; gives what an audit should show."""
    log = log_of(home)
    for topic in (DECISIONS, TRANSACTIONS, LABELS):
        records = log.fetch({TP(topic, 0): 0}, 10_000)
        out = [Outgoing(each.key, each.value, each.headers) for each in records]
        if topic == DECISIONS:
            row = msgspec.json.decode(out[number].value)
            shown = {"event_id": row["event_id"], "logged": 7.0, "recomputed": row["features"][name]}
            row["features"][name] = 7.0
            out[number] = msgspec.structs.replace(out[number], value=msgspec.json.encode(row))
        log.append(FORGED + topic, out)
    log.close()
    return shown


def test_an_audit_finds_nothing_but_what_was_forged(decided, profile):
    told, status = audit(decided, profile)
    assert (status, told["well"], told["differing"]) == (0, True, 0)
    assert (told["decisions"], told["sampled"], told["labels"]) == (EVENTS, EVENTS, EVENTS)
    assert not any(
        told[name] for name in ("gone", "undecided", "foreign", "shared", "unclaimed", "dead_letters")
    )
    counted = {each["name"]: each["compared"] for each in told["features"]}
    assert set(counted.values()) == {EVENTS}
    assert any(row["features"]["merchant_risk_1d"] for row in rows(decided, DECISIONS)), "labels count"

    read = weir("features", "audit", "--profile", profile, directory=decided)
    assert "nothing differs" in read
    assert "merchant_risk_7d" in read

    shown = forge(decided, 300, "merchant_risk_7d")
    told, status = audit(decided, profile, "--topic-prefix", FORGED)
    assert (status, told["differing"]) == (1, 1)
    assert {each["name"]: each["example"] for each in told["features"] if each["differing"]} == {
        "merchant_risk_7d": shown
    }
