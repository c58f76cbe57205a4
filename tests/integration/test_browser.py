"""The queue in a real browser: it moves by itself, three keystrokes decide a case, and nothing is refused by its own rules."""

import pytest

from stream.review.ledger import Ledger
from stream.review.queue import ReviewQueue
from stream.sealing import Sealer
from tests.acceptance import harness
from tests.contract.ledger_records import alert, label, of_alerts, on_log, recorder_of
from tests.integration.browser import Browser, found
from tests.wanted import missing

ROW = "[...document.querySelectorAll('.case')].map(row => row.dataset.alert)"
HERE = "document.querySelector('.case.here')?.dataset.alert"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    executable = found()
    if executable is None:
        missing("chromium", "no chromium on this machine")
    started = Browser(executable, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "weir"


@pytest.fixture
def ledger(home):
    opened = Ledger.open(f"sqlite:///{home}/weir.db")
    yield opened
    opened.close()


@pytest.fixture
def recorder(ledger, home):
    """What the recorder would write; keys are sealed as this Weir does."""
    made = recorder_of(ledger)
    made._seal = Sealer.at(home).seal
    names = ("e1", "e2", "e3")
    made.record(of_alerts(*(alert(name, score=0.9 - number / 10) for number, name in enumerate(names))))
    return made


@pytest.fixture
def link(home, recorder):
    process = harness.start("review", directory=home)
    file = home / "review.url"
    yield harness.eventually(lambda: file.exists() and file.read_text(), "the link is there")
    harness.stop(process)


@pytest.fixture
def queue_of(ledger):
    return lambda state: ReviewQueue(ledger, bytes).alerts(state=state)


def test_an_analyst_decides_by_keys_and_the_page_moves_by_itself(browser, link, recorder, queue_of, tmp_path):
    browser.faults.clear()
    browser.open(link)
    assert browser.value("location.search") == ""
    assert browser.value(ROW) == ["alert-e1", "alert-e2", "alert-e3"]
    assert browser.value(HERE) == "alert-e1"

    browser.press("j")
    assert browser.value(HERE) == "alert-e2"
    browser.press("f")
    browser.until(f"!{ROW}.includes('alert-e2')")
    assert browser.value(HERE) == "alert-e3"
    assert "is fraud" in browser.value("document.getElementById('toast').textContent")
    browser.press("k")
    browser.press("l")
    browser.until(f"{ROW}.join() === 'alert-e3'")
    assert [case.alert.event_id for case in queue_of("fraud")] == ["e2"]
    assert [case.alert.event_id for case in queue_of("legitimate")] == ["e1"]

    browser.value("lastMove = Infinity")  # the analyst is at work: rows stay where they are
    recorder.record(of_alerts(alert("e4", score=0.99), first=3))
    recorder.record(on_log("labels", label("e2"), label("e1", False), label("x1", False), label("x2", False)))
    browser.until("document.querySelector('[data-stat=lift]').textContent === '2.0 x'")
    browser.until("!document.getElementById('fresh').hidden")
    assert browser.value(ROW) == ["alert-e3"]
    browser.click("#fresh button")
    browser.until(f"{ROW}.join() === 'alert-e4,alert-e3'")
    assert browser.value(HERE) == "alert-e3"
    assert browser.value("document.activeElement.tagName") == "BODY", "the hidden button has the keys"

    browser.press("Enter")
    browser.until("location.pathname === '/case/alert-e3' && document.readyState === 'complete'")
    browser.click("article [data-verdict=fraud]")
    browser.until("document.querySelector('.state').textContent === 'fraud'")
    browser.picture(tmp_path / "case.png")
    browser.press("Escape")
    browser.until("location.pathname === '/' && document.readyState === 'complete'")
    browser.picture(tmp_path / "queue.png")
    assert browser.faults == []


def test_an_idle_page_takes_new_alerts_in_by_itself(browser, link, recorder):
    browser.open(link)
    recorder.record(of_alerts(alert("e5", score=0.99), first=3))
    browser.until(f"{ROW}[0] === 'alert-e5'")


def test_a_page_whose_weir_is_gone_says_so(browser, home, recorder):
    process = harness.start("review", directory=home)
    file = home / "review.url"
    browser.open(harness.eventually(lambda: file.exists() and file.read_text(), "the link is there"))
    harness.stop(process)
    browser.until("document.getElementById('trouble').textContent.startsWith('Weir does not answer')")
