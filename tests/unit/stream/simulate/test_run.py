import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from stream.decisions import LabelRecord
from stream.records import Outgoing
from stream.simulate.generator import Settings, Simulator
from stream.simulate.run import Pace, SimulationChanged, Story, Tempo, run

SMALL = Settings(cards=50, merchants=20, per_day=300.0, fraud_rate=0.05)
BURST = Tempo(burst_days=9, days=9)


class Log:
    """A publisher that remembers, and may stop or break the run after so many batches."""

    def __init__(self, stop: threading.Event | None = None, after: int = 10**9, breaks: bool = False) -> None:
        self.records: list[tuple[str, Outgoing]] = []
        self.batches = 0
        self._stop, self._after, self._breaks = stop, after, breaks

    def publish(self, topic: str, records: Sequence[Outgoing]) -> None:
        self.records += [(topic, record) for record in records]
        self.batches += 1
        if self.batches == self._after:
            if self._breaks:
                raise ConnectionError("the process died before it noted its position")
            assert self._stop
            self._stop.set()

    def close(self) -> None:
        """Nothing to give back."""

    def arrivals(self) -> list[int]:
        return [int(dict(record.headers)["arrived"]) for _, record in self.records]


def undisturbed(path: Path) -> list[tuple[str, Outgoing]]:
    log = Log()
    run(log, path / "undisturbed", threading.Event(), SMALL, BURST)
    return log.records


@pytest.mark.parametrize("after", [1, 5, 14])
def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    stop = threading.Event()
    first, second = Log(stop, after), Log()
    run(first, tmp_path / "position", stop, SMALL, BURST)
    run(second, tmp_path / "position", threading.Event(), SMALL, BURST)
    together = first.records + second.records
    assert sorted(together, key=repr) == sorted(undisturbed(tmp_path), key=repr)


def test_a_crash_sends_at_most_the_same_records_again(tmp_path: Path) -> None:
    first, second = Log(after=6, breaks=True), Log()
    with pytest.raises(ConnectionError):
        run(first, tmp_path / "position", threading.Event(), SMALL, BURST)
    run(second, tmp_path / "position", threading.Event(), SMALL, BURST)
    whole = undisturbed(tmp_path)
    assert set(first.records + second.records) == set(whole)
    assert len(first.records + second.records) > len(whole)


def test_a_record_carries_its_card_as_key_and_its_arrival_in_a_header(tmp_path: Path) -> None:
    _, record = next(each for each in undisturbed(tmp_path) if each[0] == "transactions")
    payment = Simulator(SMALL).day(0)[0]
    assert record.key == str(payment.raw["card"]).encode()
    assert msgspec.json.decode(record.value) == payment.raw
    assert record.headers == (("arrived", str(payment.at_us).encode()),)


def test_every_label_that_arrives_tells_the_truth_of_its_payment(tmp_path: Path) -> None:
    records = undisturbed(tmp_path)
    simulator = Simulator(SMALL)
    truth = {each.raw["id"]: each for day in range(9) for each in simulator.day(day)}
    labels = [msgspec.json.decode(record.value, type=LabelRecord) for t, record in records if t == "labels"]
    assert {label.label for label in labels} == {"fraud", "legitimate"}
    assert all((label.label == "fraud") == truth[label.event_id].fraud for label in labels)


def test_labels_come_before_the_first_payment_after_them() -> None:
    story = Story(Simulator(SMALL), 0)
    days = [story.day(day) for day in range(9)]
    arrivals = [arrival for day in days for arrival in day]
    assert {arrival.topic for arrival in arrivals} == {"labels", "transactions"}
    assert [arrival.at_us for arrival in arrivals] == sorted(arrival.at_us for arrival in arrivals)


def test_on_the_log_no_label_comes_after_a_payment_that_may_see_it(tmp_path: Path) -> None:
    newest_payment = 0
    for topic, record in undisturbed(tmp_path):
        arrived = int(dict(record.headers)["arrived"])
        if topic == "labels":
            assert arrived > newest_payment
        newest_payment = max(newest_payment, arrived if topic == "transactions" else 0)


class Waiting(threading.Event):
    """A stop that is never set by itself, and a clock that moves only while somebody waits for it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now = 0.0
        self._until = seconds

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        if self.now >= self._until:
            self.set()
        return self.is_set()


def test_after_the_burst_nothing_is_sent_before_it_is_due(tmp_path: Path) -> None:
    log, stop = Log(), Waiting(seconds=10)
    run(log, tmp_path / "position", stop, SMALL, Tempo(burst_days=0, day_seconds=20), clock=lambda: stop.now)
    first = Simulator(SMALL).day(0)[0].at_us
    half_a_day = 43_200_000_000
    assert max(log.arrivals()) <= first + half_a_day
    assert max(log.arrivals()) > first + 0.9 * half_a_day


def test_other_settings_than_those_of_the_kept_position_are_refused(tmp_path: Path) -> None:
    run(Log(), tmp_path / "position", threading.Event(), SMALL, Tempo(burst_days=1, days=1))
    with pytest.raises(SimulationChanged, match="seed=2"):
        run(Log(), tmp_path / "position", threading.Event(), Settings(seed=2))


def test_topics_get_the_tenants_prefix(tmp_path: Path) -> None:
    log = Log()
    run(log, tmp_path / "position", threading.Event(), SMALL, Tempo(burst_days=1, days=1), prefix="acme.")
    assert {topic for topic, _ in log.records} <= {"acme.transactions", "acme.labels"}


def test_simulated_time_runs_as_many_times_faster_as_the_day_is_shorter() -> None:
    seconds = iter([100.0, 100.0, 110.0])
    pace = Pace(day_seconds=20, clock=lambda: next(seconds))
    assert pace.now_us(5) == 5
    assert pace.now_us(10**9) == 5 + 43_200_000_000
