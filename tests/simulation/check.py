"""The oracle: what the same input gives without any fault, by id, and what of it a run has broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import isnan
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy.exc import DBAPIError

from features.events import Event, Label, Transaction
from features.store import StoreBehind, StoreUnavailable
from models.packing import unpack
from stream.decide import decide
from stream.decisions import DecisionRecord
from stream.envelope import Envelopes
from stream.keyring import Opener
from stream.lease import LeaseLost
from stream.letters import as_it_came
from stream.records import TP, Record
from stream.review.ledger import LedgerError
from tests.contract.oracle import Oracle
from tests.simulation import wiring
from tests.simulation.faust import ProduceFailed
from tests.simulation.scorers import CHAMPIONS, Tally
from tests.simulation.story import Input

if TYPE_CHECKING:
    from tests.simulation.world import World

EXPECTED_FAULTS = {
    StoreBehind: {"lose", "empty"},
    StoreUnavailable: {"refuse"},
    LeaseLost: {"sleep"},
    (DBAPIError, LedgerError): {"sql down", "point"},
    ProduceFailed: {"point"},  # of a model too
}
"""A process may crash with these, and only where something was broken that gives them."""

Vector = tuple[float | None, ...]


class Expected:
    """What was sent, as it stands on the log, and what must become of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        by_arrival = {told.arrived_us: told for told in world.sent}
        self.at: dict[TP, list[tuple[int, Input]]] = {}  # partition -> offset, input
        for topic in ("transactions", "labels"):
            for tp, records in world.log.of(topic).items():
                self.at[tp] = [(record.offset, by_arrival[_arrival(record)]) for record in records]
        self.first: dict[str, Input] = {}  # event id -> its first record
        self.conflicts: list[tuple[TP, int, Input]] = []
        self.labels: dict[str, Label] = {}  # label id -> its first record
        self.newest: dict[str, Label] = {}  # event id -> the last new label
        for tp, records in self.at.items():
            for offset, told in records:
                self._take(tp, offset, told)

    def _take(self, tp: TP, offset: int, told: Input) -> None:
        event = told.event
        if isinstance(event, Transaction):
            first = self.first.setdefault(event.event_id, told)
            assert isinstance(first.event, Transaction)
            if first.event.body != event.body:
                self.conflicts.append((tp, offset, told))
        elif isinstance(event, Label) and event.label_id not in self.labels:
            self.labels[event.label_id] = self.newest[event.event_id] = event

    def dead(self) -> dict[tuple[str, int, int], bytes]:
        """The dead letters: place and bytes."""
        broken = [
            (tp, offset, told) for tp, held in self.at.items() for offset, told in held if told.event is None
        ]
        return {(*tp, offset): told.value for tp, offset, told in [*broken, *self.conflicts]}


def violations(world: World) -> list[str]:
    """What a run has broken; nothing is as it should be."""
    if world.stuck:
        return [f"stuck: {_where(world)}"]
    expected = Expected(world)
    found = [*_crashes(world), *_applied(world, expected)]
    decided = {}
    for record in _all(world, "decisions"):
        read = msgspec.json.decode(record.value, type=DecisionRecord)
        decided.setdefault(read.event_id, (read, record.value))
    found += _decisions(world, expected, {event_id: read for event_id, (read, _) in decided.items()})
    found += _dead_letters(world, expected)
    if not world.schedule.recorders:
        return found
    found += _sql(world, expected, decided)
    found += _learned(world, expected, {event_id: read for event_id, (read, _) in decided.items()})
    return found


def seen(world: World) -> set[str]:
    """What happened in a run, by name, for those who want to know what the schedules reach."""
    names = {process.why for process in world.ended}
    names |= {type(process.fault).__name__ for process in world.ended if process.fault is not None}
    if len(world.redis.lives) > 1:
        names.add("lost state")
    decided = [
        msgspec.json.decode(record.value, type=DecisionRecord).event_id for record in _all(world, "decisions")
    ]
    if len(decided) > len({*decided}) + sum(told.kind == "duplicate" for told in world.sent):
        names.add("decided again")
    if any(group.refused for group in world.log.groups.values()):
        names.add("zombie refused")
    return names


def _where(world: World) -> str:
    lags = [
        f"{name} {tp.topic}[{tp.partition}] {group.committed.get(tp, 0)} of {len(world.log.records[tp])}"
        for name, group in world.log.groups.items()
        for tp in world.log.records
        if tp.topic in group.topics and group.committed.get(tp, 0) != len(world.log.records[tp])
    ]
    faults = [f"{each.role} {each.fault!r}" for each in world.ended if each.fault is not None]
    return "; ".join([*lags, *faults[-3:]])


def _crashes(world: World) -> Iterator[str]:
    broken = {fault.kind for fault in world.schedule.faults}
    for process in world.ended:
        fault = process.fault
        if fault is None or isinstance(fault, SystemExit):
            continue
        kinds = [kinds for kind, kinds in EXPECTED_FAULTS.items() if isinstance(fault, kind)]
        if not kinds or not kinds[0] & broken:
            yield f"a {process.role} process crashed for no good reason: {fault!r}"


def _applied(world: World, expected: Expected) -> Iterator[str]:
    """Whatever Redis lost, in each of its lives a partition is applied from its beginning and without a gap."""
    places = {}
    ends = {}
    for tp, held in expected.at.items():
        events = [told for _, told in held if told.event is not None]
        ends[tp] = len(events)
        places.update({told.arrived_us: (tp, at) for at, told in enumerate(events)})
    for number, life in enumerate(world.redis.lives):
        reached = dict.fromkeys(ends, 0)
        for event in life:
            tp, at = places[event.arrived_us]
            if at > reached[tp]:
                yield f"life {number} of Redis lacks what comes before number {at} of {tp}"
            reached[tp] = max(reached[tp], at + 1)
        if number == len(world.redis.lives) - 1 and reached != ends:
            yield f"Redis was given {reached} in the end, of {ends}"


def _answers(world: World, expected: Expected) -> dict[int, set[tuple[int, Vector]]]:
    """By arrival: what a store that is fed in the order in which they were applied answers, in each life."""
    events = {told.arrived_us: told.event for held in expected.at.values() for _, told in held}
    answers: dict[int, set[tuple[int, Vector]]] = {}
    for life in world.redis.lives:
        oracle = Oracle(wiring.PROFILE.features)
        fed: list[Event] = [events[event.arrived_us] for event in life]
        for event, answer in zip(fed, oracle.apply(fed), strict=True):
            if answer.vector:
                known = tuple(None if isnan(value) else value for value in answer.vector)
                answers.setdefault(event.arrived_us, set()).add((answer.seq, known))
    return answers


def _decisions(world: World, expected: Expected, decided: dict[str, DecisionRecord]) -> Iterator[str]:
    yield from _differing("decided", set(decided), set(expected.first))
    answers = _answers(world, expected)
    champions = {champion.version: champion for champion in CHAMPIONS}
    for event_id, read in decided.items():
        first = expected.first.get(event_id)
        if first is None or read.arrived_us != first.arrived_us:
            yield f"the decision of {event_id} was made from another record than its first"
            continue
        vector = tuple(read.features.values())
        if (read.seq, vector) not in answers.get(read.arrived_us, set()):
            yield f"the features of {event_id} are {vector} (seq {read.seq}), never {answers.get(read.arrived_us)}"
        champion = champions[read.model_version]
        assert champion.scorer is not None
        score = champion.scorer.score_one([float("nan") if each is None else each for each in vector])
        if (read.score, read.outcome) != (score, decide(score, champion.threshold).value):
            yield f"{event_id} was decided {read.outcome} at {read.score}, not at {score}"


def _dead_letters(world: World, expected: Expected) -> Iterator[str]:
    found = {}
    for topic in ("transactions.dlq", "labels.dlq"):
        for record in _all(world, topic):
            headers = {name: value.decode() for name, value in record.headers}
            place = (headers["topic"], int(headers["partition"]), int(headers["offset"]))
            opened = as_it_came(Opener(Envelopes(wiring.SEALER), {}), record.value, None, wiring.SEALER.open)
            found[place] = opened.value
    yield from _differing("dead letters", set(found.items()), set(expected.dead().items()))


def _sql(world: World, expected: Expected, decided: dict[str, tuple[DecisionRecord, bytes]]) -> Iterator[str]:
    rows = world.sql.rows
    first = {(event_id, value) for event_id, (_, value) in decided.items()}
    yield from _differing("decisions in SQL", set(rows("SELECT event_id, record FROM decisions")), first)
    alerting = {event_id for event_id, (read, _) in decided.items() if read.outcome != "approve"}
    alerts = {event_id for (event_id,) in rows("SELECT event_id FROM alerts")}
    yield from _differing("alerts", alerts, alerting)
    labels = {(label.label_id, label.event_id, label.fraud) for label in expected.labels.values()}
    found = {(i, e, bool(f)) for i, e, f in rows("SELECT label_id, event_id, fraud FROM labels")}
    yield from _differing("labels in SQL", found, labels)
    places = set(rows("SELECT topic, part, offset FROM dead_letters"))
    yield from _differing("dead letters in SQL", places, set(expected.dead()))
    labelled = {event_id: label.fraud for event_id, label in expected.newest.items()}
    counted = {
        "events": len(decided),
        "alerts": len(alerting),
        "labelled": len(labelled),
        "labelled_fraud": sum(labelled.values()),
        "alerts_labelled": len(labelled.keys() & alerting),
        "alerts_fraud": sum(fraud for event_id, fraud in labelled.items() if event_id in alerting),
    }
    counters = dict(rows("SELECT name, value FROM counters"))
    yield from _differing(
        "counters", {(name, counters.get(name, 0)) for name in counted}, set(counted.items())
    )
    topics = ("decisions", "alerts", "labels", "transactions.dlq", "labels.dlq")
    ends = {(*tp, len(held)) for topic in topics for tp, held in world.log.of(topic).items() if held}
    kept = set(rows("SELECT topic, part, after FROM positions WHERE reader = 'record'"))
    yield from _differing("the recorder's positions", kept, ends)


def _learned(world: World, expected: Expected, decided: dict[str, DecisionRecord]) -> Iterator[str]:
    rows = world.sql.rows
    known = {label_id: label for label_id, label in expected.labels.items() if label.event_id in decided}
    learned = {label_id for (label_id,) in rows("SELECT label_id FROM learned_labels")}
    yield from _differing("learned labels", learned, set(known))
    waiting = {label_id for (label_id,) in rows("SELECT label_id FROM waiting_labels")}
    yield from _differing("waiting labels", waiting, expected.labels.keys() - known.keys())
    taught = Counter(
        (tuple(decided[label.event_id].features.values()), label.fraud) for label in known.values()
    )
    snapshot = world.ledger.newest_snapshot(0)
    found = Tally.load(unpack(snapshot.scorer)).taught if snapshot is not None else Counter()
    newest = [dict(record.headers)["model_version"].decode() for record in _all(world, "models")][-1:]
    if newest != ([snapshot.model_version] if snapshot else []):
        yield f"the topic of models shows {newest}, and the ledger holds {snapshot and snapshot.model_version}"
    yield from _differing("what was taught", set(found.items()), set(taught.items()))


def _all(world: World, topic: str) -> Iterator[Record]:
    for records in world.log.of(topic).values():
        yield from records


def _arrival(record: Record) -> int:
    return int(record.headers[0][1])


def _differing(what: str, found: Iterable[Any], expected: Iterable[Any]) -> Iterator[str]:
    found, expected = set(found), set(expected)
    if found - expected:
        yield f"{what}: too much: {_some(found - expected)}"
    if expected - found:
        yield f"{what}: lost: {_some(expected - found)}"


def _some(things: Iterable[Any]) -> str:
    return ", ".join(sorted(map(repr, things))[:4])
