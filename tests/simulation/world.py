"""The seeded scheduler: it turns the processes, one step of one of them at a time, and lets things break on the way."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from stream.decisions import DECISIONS, LABELS
from stream.partition import partition_of
from stream.records import TP
from tests.simulation import wiring
from tests.simulation.log import PARTITIONS, SimLog
from tests.simulation.loop import Clock, Died
from tests.simulation.process import Process
from tests.simulation.redis import SimRedis
from tests.simulation.schedule import AFTERWARDS, Fault, Schedule
from tests.simulation.sql import Sql
from tests.simulation.story import BEGIN_US, Input, Story

LIMIT = 15_000
"""Steps after which a world is stuck; most need 1,500."""

SESSION = 150
"""For so many steps at most a member that is silent keeps its partitions, and a dead process stays dead."""


class World:
    """One run of one schedule."""

    def __init__(self, schedule: Schedule, sql: Sql) -> None:
        self.schedule = schedule
        self.chance = random.Random(schedule.seed * 2 + 1)
        self.clock = Clock()
        self.config = wiring.config
        self.log = SimLog()
        self.redis = SimRedis(wiring.PROFILE.features)
        self.sql = sql
        wiring.run_in(self)
        self.ledger = sql.open(self)
        self.champion = 0
        self.current: Any = None
        self.step = 0
        self.passed: Counter[str] = Counter()
        self.sent: list[Input] = []
        self.processes: list[Process] = []
        self.ended: list[Process] = []
        self.stuck = False
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._slots = {
            "score": schedule.scorers,
            "record": schedule.recorders,
            "learn": int(schedule.recorders > 0),
        }
        self._points: dict[tuple[str, int], str] = {}
        self._retiring: set[Process] = set()
        self._retired: dict[str, list[Process]] = {role: [] for role in self._slots}

    @property
    def now_ms(self) -> int:
        """The log's clock."""
        return 1_767_312_000_000 + int(self.clock.now * 1000)

    def point(self, name: str) -> str:
        """A place where a process may die or be answered with an error."""
        self.passed[name] += 1
        action = self._points.get((name, self.passed[name]), "")
        if action == "kill":
            self.current.ends("killed")
        return action

    # --- running

    def run(self) -> None:
        """Everything that is sent, everything that breaks, and then until nobody has anything left to do."""
        for role, count in self._slots.items():
            for slot in range(count):
                self._start(role, slot)
        for at, told in self.schedule.inputs:
            self._after(at, lambda told=told: self.send(told))
        for fault in self.schedule.faults:
            self._arm(fault)
        self._settle(DECISIONS)
        if not self.stuck:
            self._send_the_last()
            self._settle(LABELS)
        for process in [*self.processes, *self.ended]:
            self.current, process.alive = process, False
            process.loop.bury()

    def _send_the_last(self) -> None:
        """Something for every partition: a loss is seen when something comes, and waiting labels are looked at then."""
        story = Story(random.Random(self.schedule.seed))
        for told in story.tell_the_last(max((each.arrived_us for each in self.sent), default=BEGIN_US)):
            self.send(told)

    def _settle(self, learned: str) -> None:
        """Turn until all is done, the learner's part of it for the topic `learned`."""
        while True:
            self.step += 1
            if self.step > LIMIT:
                self.stuck = True
                return
            while self._events and self._events[0][0] <= self.step:
                heapq.heappop(self._events)[2]()
            busy = [process for process in self.processes if process.busy]
            if busy:
                self._turn(self._chosen(busy))
                if self.step % 16 == 0 and self.chance.random() < 0.3:
                    self._pass_time()
            elif self._events:
                self.step = self._events[0][0] - 1
            elif self._done(learned):
                return
            else:
                self._pass_time()

    def _chosen(self, busy: list[Process]) -> Process:
        """Any of them; recorders and learners less often, so that they have more to do at a time."""
        process = busy[self.chance.randrange(len(busy))] if len(busy) > 1 else busy[0]
        if process.role != "score" and self.chance.random() < 0.7:
            process = busy[self.chance.randrange(len(busy))]
        return process

    def _turn(self, process: Process) -> None:
        self.current = process
        try:
            process.loop.step()
        except Died:
            self._died(process)
        else:
            if not process.alive:
                self._died(process)

    def _pass_time(self) -> None:
        awake = [process for process in self.processes if process.alive and not process.asleep]
        times = [when for process in awake if (when := process.loop.next_timer()) is not None]
        if not times:
            return
        self.clock.now = max(self.clock.now, min(times))
        for process in awake:
            process.loop.wake()

    def _done(self, learned: str) -> bool:
        reads = {
            "weir-score": ("transactions", "labels"),
            "weir-record": ("decisions", "alerts", "labels", "transactions.dlq", "labels.dlq"),
            "weir-learn": (DECISIONS,) if learned == DECISIONS else (DECISIONS, LABELS),
        }
        return all(
            self.log.group(name).committed.get(tp, 0) == len(records)
            for name, topics in reads.items()
            if name == "weir-score" or self.schedule.recorders
            for topic in topics
            for tp, records in self.log.of(topic).items()
        )

    # --- what happens

    def send(self, told: Input) -> None:
        """Somebody appends a record."""
        self.sent.append(told)
        tp = TP(told.topic, partition_of(told.key.encode(), PARTITIONS[told.topic]))
        self.log.append(tp, [told.record()], self.now_ms)

    def _after(self, steps: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.step + steps, len(self._events) * 1_000_000 + self.step, call))

    def _start(self, role: str, slot: int) -> None:
        self.processes.append(Process(self, role, slot))

    def _died(self, process: Process) -> None:
        """Its supervisor starts it again; the broker hears nothing of it until its session ends."""
        self.processes.remove(process)
        self.ended.append(process)
        self._after(self.chance.randint(1, SESSION), lambda: self._expire(process))
        if process not in self._retiring:
            self._after(self.chance.randint(1, SESSION), lambda: self._start(process.role, process.slot))

    def _expire(self, process: Process) -> None:
        if process.app is not None and not (process.alive and not process.asleep):
            self.log.group(process.app.conf.id).leave(process.app.consumer)

    def _arm(self, fault: Fault) -> None:
        if fault.kind == "point":
            name, _, action = fault.detail.partition(": ")
            self._points[name, fault.at] = action
        else:
            self._after(min(fault.at, AFTERWARDS), lambda: self._break(fault))

    def _break(self, fault: Fault) -> None:
        length = 20 + 40 * fault.number
        match fault.kind:
            case "kill" | "stop" | "sleep" | "remove":
                self._strike(fault)
            case "add" if self._slots[fault.detail]:
                self._slots[fault.detail] += 1
                self._start(fault.detail, self._slots[fault.detail])
            case "lose":
                self.redis.lose(fault.number)
            case "empty":
                self.redis.lose(1 << 30)
            case "refuse":
                self.redis.refusing += 1
                self._after(length, lambda: setattr(self.redis, "refusing", self.redis.refusing - 1))
            case "sql down":
                self.sql.down += 1
                self._after(length, lambda: setattr(self.sql, "down", self.sql.down - 1))
            case "rebalance":
                for group in self.log.groups.values():
                    group.rebalance()
            case "swap":
                self.champion += fault.number

    def _strike(self, fault: Fault) -> None:
        those = [each for each in self.processes if each.role == fault.detail and each.alive]
        if not those:
            return
        process = those[fault.number % len(those)]
        if fault.kind == "kill":
            process.alive, process.why = False, "killed"
            self._died(process)
        elif fault.kind == "sleep":
            self._put_to_sleep(process)
        elif fault.kind == "stop" or self._slots[fault.detail] > len(self._retired[fault.detail]) + 1:
            if fault.kind == "remove" and process not in self._retiring:
                self._retired[fault.detail].append(process)
                self._retiring.add(process)
            process.stop()
            if not process.alive:
                self._died(process)

    def _put_to_sleep(self, process: Process) -> None:
        """SIGSTOP: it wakes up later and goes on with what it holds; others may have its partitions by then."""
        process.asleep += 1
        self._after(self.chance.randint(1, SESSION), lambda: self._expire(process))
        if process.role == "learn":
            self._start("learn", 1)  # it stood by
        self._after(self.chance.randint(1, 3 * SESSION), lambda: self._wake(process))

    def _wake(self, process: Process) -> None:
        process.asleep -= 1
