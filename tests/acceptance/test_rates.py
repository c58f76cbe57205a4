"""Payments in several currencies through the real `weir up`: converted by rates that had arrived, as in a replay."""

import msgspec
import pytest

from features.profile import SHIPPED
from tests.acceptance.harness import eventually, rows, stop, weir

EVENTS = 1_500
GONE = "GBP"
"""No rate of it is known until later."""


@pytest.fixture
def euros(tmp_path):
    """The profile `payments`, all of it in euros."""
    path = tmp_path / "euros.toml"
    text = (SHIPPED / "payments.toml").read_text()
    path.write_text(text.replace("[source]\n", '[source]\nlabel = "fraud"\nconvert_to = "EUR"\n'))
    return path


@pytest.fixture
def some(tmp_path, payments):
    """Payments of some days in euros, dollars, pounds, and yen."""
    path = tmp_path / "some.jsonl"
    lines = payments.read_bytes().splitlines(keepends=True)[:EVENTS]
    yen = [line.replace(b'"EUR"', b'"JPY"') if number % 5 == 0 else line for number, line in enumerate(lines)]
    path.write_bytes(b"".join(yen))
    return path


def days_of(events):
    return sorted({each["at"][:10] for each in events})


def write_rates(path, currencies, days):
    """Of each day a rate, fixed at four in the morning and known at six."""
    lines = ["currency,to,rate,at,arrived", *(f"{code},EUR,0.5,2000-01-01T00:00:00Z," for code in currencies)]
    lines += [
        f"{code},EUR,0.{61 + 7 * number % 30}{index},{day}T04:00:00Z,{day}T06:00:00Z"
        for number, day in enumerate(days)
        for index, code in enumerate(currencies)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def made(rows):
    """Decisions by id, less what differs each time."""
    return {
        row["event_id"]: {name: value for name, value in row.items() if name not in ("decided_at", "sealed")}
        for row in rows
    }


def test_amounts_are_converted_live_as_in_a_replay_and_what_lacked_a_rate_is_mended(
    home, started, some, euros, tmp_path
):
    events = [msgspec.json.decode(line) for line in some.read_bytes().splitlines()]
    codes = sorted({each["currency"] for each in events} - {"EUR"})
    assert GONE in codes
    assert len(codes) == 3
    lacking = {each["id"] for each in events if each["currency"] == GONE}
    rates = write_rates(tmp_path / "rates.csv", [code for code in codes if code != GONE], days_of(events))
    model, replayed = tmp_path / "model.weir", tmp_path / "replayed.jsonl"
    options = ("--profile", euros, "--label-delay", "2d", "--rates", rates)
    weir("replay", some, *options, "--save-model", model, "--json", directory=home)
    weir("replay", some, *options, "--model", model, "--decisions", replayed, "--json", directory=home)

    up = started("up", "--profile", euros, "--model", model, directory=home)
    eventually(lambda: (home / "log" / "log.db").exists(), "the log is there")
    sent = msgspec.json.decode(weir("send", some, *options, "--json", directory=home))
    assert (sent["events"], sent["rates"]) == (EVENTS, len(rates.read_text().splitlines()) - 1)
    eventually(lambda: len(rows(home, "decisions")) >= EVENTS - len(lacking), "every event was decided")

    live = made(rows(home, "decisions"))
    assert live == made(map(msgspec.json.decode, replayed.read_bytes().splitlines()))
    converted = [each for each in live.values() if "converted_from" in each]
    assert len({each["converted_from"]["currency"] for each in converted}) == len(codes) - 1
    assert len({each["converted_from"]["rate"] for each in converted}) > 5
    assert {each["currency"] for each in live.values()} == {"EUR"}

    def letters():
        return msgspec.json.decode(weir("dead-letters", "list", "--json", "--limit", "1000", directory=home))

    eventually(lambda: len(letters()) == len(lacking), "events without a rate are dead letters", pause=1)
    assert all("a currency of which a rate to EUR had arrived" in each["reason"] for each in letters())
    assert live.keys() & lacking == set()

    # A rate that is sent alone arrives now; what it was missing for comes again, and arrives now too.
    today = tmp_path / "today.jsonl"
    today.write_text('{"currency": "GBP", "to": "EUR", "rate": 1.17, "at": "2000-01-01T00:00:00Z"}\n')
    weir("send", "--profile", euros, "--rates", today, directory=home)
    one = letters()[0]
    place = f"{one['topic']}/{one['partition']}@{one['offset']}"

    def mended():
        weir("dead-letters", "replay", place, "--now", directory=home)
        return made(rows(home, "decisions")).keys() & lacking

    [mended_id] = eventually(mended, "it is decided once the rate has settled", pause=2)
    pounds = made(rows(home, "decisions"))[mended_id]
    assert pounds["converted_from"]["rate"] == "1.17"
    assert pounds["late"], "its own time is long past"
    told = msgspec.json.decode(weir("doctor", "--profile", euros, "--json", directory=home))
    assert [each["found"][:20] for each in told["findings"] if each["check"] == "rates"] == [
        "to EUR, the newest: "
    ]
    stop(up, seconds=20)

    report = weir("features", "audit", "--profile", euros, "--sample", "1", directory=home)
    assert "nothing differs" in report
