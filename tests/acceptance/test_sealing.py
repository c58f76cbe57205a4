"""Nothing that Weir writes shows whom it is about, and who is forgotten can be read by nobody: with the real processes."""

import itertools
import json
import subprocess
import sys
from datetime import datetime, timedelta
from urllib.parse import quote

import msgspec
import pytest

from features.events import to_us
from features.profile import SHIPPED
from stream.bootstrap import TOPICS
from stream.records import TP
from stream.review.ledger import Ledger
from stream.simulate.generator import Settings, Simulator
from tests.acceptance.harness import append, env, eventually, link_in, log_of, rows, stop, weir
from tests.acceptance.test_review import Visitor

pytestmark = pytest.mark.slow

EVENTS = 1_500
INPUT = "transactions"
"""The topic that is the user's own; nobody but the review queue writes labels here."""

BROKEN = '{"id": "broken", "card": "4539'


def personal(raw):
    """A payment with a card number, and a device that names its owner."""
    number, owner = raw["card"].rpartition("_")[2], raw["device"].rpartition("_")[2]
    return {
        **raw,
        "card": f"4539{int(number, 36) % 10**12:012d}",
        "device": f"Ada Lovelace {owner} of London",
    }


def ended(*arguments, directory, **more):
    """A command, whatever its end."""
    return subprocess.run(
        [sys.executable, "-m", "stream", *map(str, arguments)],
        env=env(directory),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


@pytest.fixture(scope="module")
def sealed_profile(tmp_path_factory):
    """Cards and devices are people, and ids are made of them."""
    text = (SHIPPED / "payments.toml").read_text()
    text = text.replace('"id"', '["card", "id"]')
    path = tmp_path_factory.mktemp("sealed") / "mine.toml"
    path.write_text(text.replace('personal = ["card"]', 'personal = ["card", "device"]'))
    return path


class Run:
    """A Weir that was sent payments, good and bad; what it shows is collected while it runs."""

    def __init__(self, home, profile, model, start):
        self.home, self.profile = home, profile
        simulated = itertools.islice(
            Simulator(Settings(seed=7, cards=100, merchants=20, per_day=300)), EVENTS
        )
        self.payments = [personal(each.raw) for each in simulated]
        self.people = {each["card"] for each in self.payments} | {each["device"] for each in self.payments}
        self.shown = {}
        self._up = start("up", "--profile", profile, "--model", model, directory=home)
        link = eventually(
            lambda: link_in((home / "up---profile---model.out").read_text()), "the link is printed"
        )
        self.visitor = Visitor(link)
        self.send(self.payments)
        self._bury()
        eventually(lambda: self.visitor.json("/api/v1/stats")["events"] == EVENTS, "all is recorded")
        eventually(lambda: len(self.letters()) == 3, "and the dead letters are")

    def command(self, *arguments):
        """What a command prints."""
        return weir(*arguments, "--profile", self.profile, directory=self.home)

    def send(self, payments):
        """Send payments from a file."""
        file = self.home.parent / "sent.jsonl"
        file.write_bytes(b"\n".join(map(msgspec.json.encode, payments)))
        self.command("send", file)

    def _bury(self):
        last = self.payments[-1]
        arrived = [("arrived", b"%d" % to_us(datetime.fromisoformat(last["at"])))]
        broken = ({**last, "amount": None}, BROKEN.encode(), {**last, "amount": 1})
        append(self.home, "transactions", *((each, arrived) for each in broken))

    def letters(self):
        """The dead letters' reasons by their places."""
        ledger = Ledger.open(f"sqlite:///{self.home}/weir.db")
        letters = ledger.dead_letters(100)
        ledger.close()
        return {f"{each.topic}/{each.partition}@{each.offset}": each.reason for each in letters}

    def look(self):
        """Collect what pages, commands and exports show."""
        exported = self.home.parent / "exported"
        exported.mkdir()
        found = {path: self.visitor.ask(path)[1] for path in ("/", "/?state=fraud", "/metrics")}
        self.alerts = self.visitor.json("/api/v1/alerts?limit=500")
        found["/api/v1/alerts"] = json.dumps(self.alerts)
        verdict = quote(self.alerts[0]["alert"]["alert_id"], safe="")
        self.visitor.json(f"/api/v1/alerts/{verdict}/verdict", {"verdict": "fraud"})
        eventually(
            lambda: self.visitor.json("/api/v1/stats")["alerts_labelled"] == 1,
            "the verdict is a label of the event that the ledger knows by a hash",
        )
        found["posted"] = json.dumps(
            [self.visitor.json("/api/v1/score", {**self.payments[-1], "id": "posted"}) for _ in range(2)]
        )
        for case in self.alerts[:20]:
            for path in ("/case/{alert_id}", "/api/v1/decisions/{event_id}"):
                found[path.format(**case["alert"])] = self.visitor.ask(path.format(**case["alert"]))[1]
        found["dead letters"] = self.command("dead-letters", "list", "--json")
        found["replay"] = self.command(
            *("replay", self.home.parent / "sent.jsonl", "--json"),
            *("--scores", exported / "scores.parquet", "--decisions", exported / "decisions.jsonl"),
        )
        found |= {str(path): path.read_bytes().decode("latin-1") for path in exported.iterdir()}
        self.shown = found

    def stop(self):
        """End all processes, so that every file is as it stays."""
        stop(self._up)

    def files(self):
        """All files of this Weir but its log, whose topics are looked at one by one."""
        return [
            path for path in self.home.rglob("*") if path.is_file() and self.home / "log" not in path.parents
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory, sealed_profile, model):
    """One run for all tests; its processes end with it."""
    from tests.acceptance import harness

    processes = []

    def start(*arguments, directory):
        processes.append(harness.start(*arguments, directory=directory))
        return processes[-1]

    made = Run(tmp_path_factory.mktemp("run") / "weir", sealed_profile, model, start)
    yield made
    for process in processes:
        if process.is_running():
            stop(process)


def test_what_is_personal_stands_nowhere_in_the_clear_but_in_the_users_own_topics(run):
    run.look()
    assert run.alerts, "pages without alerts would show nobody anyway"
    texts = dict(run.shown)
    for name in TOPICS:
        if name != INPUT:
            records = log_of(run.home).fetch({TP(name, 0): 0}, 100_000)
            parts = (
                part for each in records for part in (each.key or b"", each.value, str(each.headers).encode())
            )
            texts[f"topic {name}"] = b"\n".join(parts).decode("latin-1")
    assert all(texts[f"topic {name}"] for name in ("decisions", "alerts", "labels", "transactions.dlq"))
    texts |= {str(path): path.read_bytes().decode("latin-1") for path in run.files()}
    assert any("weir.db" in name for name in texts)
    assert any("/redis/" in name for name in texts)
    assert any("/logs/" in name for name in texts)
    log = b"".join(path.read_bytes() for path in (run.home / "log").rglob("*") if path.is_file())
    cards = {each["card"] for each in run.payments}
    assert any(card.encode() in log for card in cards), "the search would find what is there"
    found = {(name, person) for name, text in texts.items() for person in run.people if person in text}
    shown_to_analysts = {
        (name, person) for name, person in found if name in run.shown and not person.isdigit()
    }
    assert found - shown_to_analysts == set()
    assert {name for name, _ in shown_to_analysts} <= {
        name for name in run.shown if name in ("/", "/api/v1/alerts") or name.startswith("/case/")
    }


def test_analysts_see_who_it_is_with_card_numbers_in_part(run):
    case = run.visitor.json("/api/v1/alerts")[0]
    card = case["people"]["card"]
    assert card.replace(" ", "")[:6] + card[-4:] in {
        each["card"][:6] + each["card"][-4:] for each in run.payments
    }
    assert card[7:14] == "** ****"
    assert case["people"]["device"] in run.people
    page = run.visitor.ask(f"/case/{case['alert']['alert_id']}")[1]
    assert card in page
    assert case["people"]["device"] in page


def test_who_is_forgotten_can_be_read_by_nobody_and_who_comes_again_is_a_stranger(run):
    victim = run.payments[-1]["card"]  # two dead letters are about it
    first = forget(run, victim)
    assert (first["entity"], first["key"], first["features"]) == ("card", True, True)
    assert victim not in json.dumps(first)
    again = forget(run, victim)
    assert (again["key"], again["features"], again["person"]) == (False, False, first["person"])

    stubborn = [ended("dead-letters", "replay", place, directory=run.home) for place in run.letters()]
    assert sorted(each.returncode for each in stubborn) == [0, 1, 1], "that of nobody can be read"
    assert sum("was forgotten" in each.stderr for each in stubborn) == 2
    for case in run.visitor.json("/api/v1/alerts?limit=500"):
        theirs = case["alert"]["entities"]["card"] == first["person"]
        assert (case["people"]["card"] is None) == theirs
    assert victim not in run.visitor.ask("/")[1]

    last = datetime.fromisoformat(run.payments[-1]["at"])
    later = last + timedelta(minutes=1)
    before = len(rows(run.home, "decisions"))
    run.send([{**run.payments[-1], "id": "back again", "at": later.isoformat()}])
    (decided,) = eventually(lambda: rows(run.home, "decisions")[before:], "they are back")
    assert (decided["features"]["card_count_7d"], decided["features"]["card_since_last"]) == (1.0, None)
    assert decided["sealed"].keys() == {"card", "device"}


def forget(run, person):
    """`weir forget -`, the person on the standard input."""
    done = ended(
        *("forget", "-", "--entity", "card", "--json", "--profile", run.profile),
        directory=run.home,
        input=f"{person}\n",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_command_line_says_what_forgetting_does_not_do_and_whose_value_it_needs(run):
    unclear = ended("forget", "somebody", "--profile", run.profile, directory=run.home)
    assert unclear.returncode == 1
    assert "--entity names one that the profile calls personal (card, device)" in unclear.stderr
    told = run.command("forget", "nobody known", "--entity", "device")
    assert "they had no key, they had no features" in told
    assert "the input topics (transactions, labels) are your own" in told
    assert "backups" in told
    nobody = ended("forget", "-", "--profile", run.profile, directory=run.home, input="\n")
    assert (nobody.returncode, "nobody is named" in nobody.stderr) == (1, True)


def test_a_dead_letter_that_names_nobody_can_be_deleted_by_its_place(run):
    place = next(place for place, reason in run.letters().items() if "JSON" in reason)
    assert "deleted" in run.command("dead-letters", "forget", place)
    assert ended("dead-letters", "forget", place, directory=run.home).returncode == 1
    assert place not in run.letters()
