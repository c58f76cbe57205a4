"""The score role: records of transactions and labels in; decisions, alerts and dead letters out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from features.events import Event
from features.store import Batch, FeatureStore, Status
from stream.adopting import Adopting
from stream.champion import ChampionFeed
from stream.codec import Codec, Decoded
from stream.decisions import ALERTS, DECISIONS
from stream.emit import Emitter, now_text
from stream.grounds import Basis, Ground, Grounds, Settled
from stream.keyring import NOBODY, Keyring, Seals
from stream.letters import CONFLICT, FATAL, REASONS, DeadLetter, LetterOffice
from stream.pipeline import Answer, Decision, Pipeline, Refused
from stream.rates import Rates
from stream.records import TP, Outgoing, Record
from stream.runs import Taken, run_of
from stream.sequence import Way
from stream.watch import UNSEEN, Passing, Reading, counted

DECIDED = (Status.FRESH, Status.DUPLICATE, Status.LATE)
"""What the store may have said of an event that was decided."""

Outputs = dict[str, list[Outgoing]]
"""Topic (without a tenant's prefix) -> records for it, in order."""


@dataclass(slots=True)
class Work:
    """A batch on its way: decoded and packed. It is answered once it is applied and its people's keys are there.

    The latter two may happen at the same time: each waits for a server of its own.
    """

    records: Sequence[Record]
    decoded: Sequence[Decoded]
    events: Sequence[Event]
    batch: Batch
    ask: Callable[[Sequence[Decoded]], Seals]
    basis: Basis
    seen: Passing = UNSEEN
    way: Way | None = None  # past a network, where there is one
    seals: Seals = field(default_factory=dict)

    def seal(self) -> None:
        """Get the keys of its people; new ones are durable then."""
        with self.seen.stage("seal"):
            self.seals = self.ask(self.decoded)

    def apply(self) -> None:
        """Apply it to the store, in one round trip. One batch may be applied while another is prepared or answered.

        Batches must be applied in order. Raises StoreBehind where the store has lost what came before one of the runs
        whose source is named.
        """
        with self.seen.stage("store"):
            if self.way is None:
                self.batch.apply()
            else:
                self.way.apply(self.batch)

    @property
    def carries(self) -> bool:
        """Whether what a network carries is on its way to the store."""
        return self.way is not None

    def settle(self) -> None:
        """Return once all that it changed is stored; with its outputs durable, it is done then."""
        if self.way is not None:
            with self.seen.stage("settle"):
                self.way.settle()


class ScoreRole:
    """Decides batches of records. What a batch came from is done when what this returns is durable."""

    def __init__(
        self,
        codec: Codec,
        pipeline: Pipeline,
        emitter: Emitter,
        champions: ChampionFeed,
        office: LetterOffice,
        keyring: Keyring | None = None,
        grounds: Grounds | None = None,
        rates: Rates | None = None,
        networks: Adopting | None = None,
    ) -> None:
        """`counts` tells what happened since the start, for metrics. Without a keyring nothing is personal.

        Without `grounds` all rests on the pipeline's store, and without `networks` no network is asked. `rates` are those of
        the codec, where it converts.
        """
        self.counts: Counter[str] = Counter()
        self.rungs: Counter[str] = Counter()  # of decisions
        self.buried: Counter[str] = Counter(dict.fromkeys(REASONS, 0))  # dead letters, by the kind of reason
        self._codec = codec
        self._pipeline = pipeline
        self._emitter = emitter
        self._champions = champions
        self._keyring = keyring
        self._office = office
        self._rates = rates
        self._grounds = grounds or Settled(Ground(pipeline.store, emitter.basis))
        self._networks = networks

    def run(self, records: Sequence[Record]) -> Outputs:
        """All of one run's way: every record ends in a decision, a label applied, or a dead letter."""
        work = self.prepare(Taken(records))
        work.seal()
        work.apply()
        outputs = self.answer(work)
        work.settle()
        return outputs

    def readings(self) -> Iterator[Reading]:
        """What happened since the start, for metrics."""
        yield from counted(
            "weir_decisions", {each.value: self.counts[each.value] for each in DECIDED}, "status"
        )
        yield from counted("weir_decisions_by_rung", self.rungs, "rung")
        yield from counted("weir_dead_letters", self.buried, "reason")
        yield Reading("weir_alerts_sent", self.counts["alerts"])
        yield Reading("weir_labels_applied", self.counts["labels"])
        yield Reading("weir_unknown_fields", sum(dict(self._codec.unknown).values()))
        yield Reading("weir_snapshots_refused", self._champions.refused)
        if self._rates is not None:
            yield Reading("weir_rates", len(self._rates))
            yield Reading("weir_rates_refused", self._rates.refused)
        yield Reading("weir_model_info", 1, {"version": self._pipeline.champion.version})
        if self._networks is not None:
            yield from self._networks.readings()

    @property
    def store(self) -> FeatureStore:
        """Where the features live."""
        return self._pipeline.store

    def positions(self) -> dict[TP, int]:
        """How far the store holds each partition, and what a network carries of it."""
        held = self._grounds.now.store.positions()
        seen = self._networks.written() if self._networks is not None else None
        if seen is not None:
            held = {place: min(offset, seen.get(place, 0)) for place, offset in held.items()}
        return {TP(*place): offset for place, offset in held.items()}

    @property
    def due(self) -> bool:
        """Whether `change` is to be called, with nothing in hand."""
        return self._networks is not None and self._networks.due

    def change(self) -> None:
        """Let another network read along from the next batch on."""
        if self._networks is not None:
            self._networks.change()

    def prepare(self, *taken: Taken, seen: Passing = UNSEEN) -> Work:
        """Decode a batch, and pack it for the store."""
        with seen.stage("decode"):
            decoded = list(map(self._decoded, taken))
        runs = [run_of(some, each) for some, each in zip(decoded, taken, strict=True)]
        everything = [event for some in decoded for event in some]
        records = [record for each in taken for record in each.records]
        events = [event for run in runs for event in run.events]
        sources = [run.source for run in runs if run.source is not None]
        ground = self._grounds.under(sources)
        network = self._networks.under(ground.store, sources) if self._networks is not None else None
        way = network.begin(sources) if network is not None else None
        with seen.stage("pack"):
            batch = ground.store.batch(runs)
        return Work(records, everything, events, batch, self._seals, ground.basis, seen, way)

    def _seals(self, decoded: Sequence[Decoded]) -> Seals:
        return self._keyring.seals(self._emitter.people(decoded)) if self._keyring else NOBODY

    def _decoded(self, taken: Taken) -> Sequence[Decoded]:
        if taken.condemned:
            whose, why = self._codec.people, taken.condemned  # as their keys say
            return [self._codec.dead_letter(each, why, FATAL, people=whose(each)) for each in taken.records]
        return self._codec.decode_many(taken.records)

    def answer(self, work: Work) -> Outputs:
        """Score, decide and encode what was applied."""
        self._pipeline.champion = self._champions.newest()
        with work.seen.stage("unpack"):
            applied = work.batch.answers()
        told = None
        if work.way is not None:
            with work.seen.stage("network"):
                told = work.way.read(work.events, applied)
        decided = self._pipeline.answer(work.events, applied, work.seen, told)
        with work.seen.stage("emit"):
            return self._outputs(work, iter(decided))

    def _outputs(self, work: Work, answers: Iterator[Answer]) -> Outputs:
        outputs: Outputs = {}
        placed = [each if isinstance(each, DeadLetter) else next(answers) for each in work.decoded]
        made = [each for each in placed if isinstance(each, Decision)]
        if made:
            keys = [
                record.key
                for record, each in zip(work.records, placed, strict=True)
                if isinstance(each, Decision)
            ]
            self._decided(outputs, made, keys, work)
        labels = sum(each is None for each in placed)
        if len(made) + labels < len(placed):
            self._bury(outputs, work, placed)
        self._count(made, labels, work.basis.rung)
        return outputs

    def _decided(
        self, outputs: Outputs, made: Sequence[Decision], keys: Sequence[bytes | None], work: Work
    ) -> None:
        outputs[DECISIONS], alerts = self._emitter.outgoing(made, keys, now_text(), work.seals, work.basis)
        if alerts:
            outputs[ALERTS] = alerts
            self.counts["alerts"] += len(alerts)

    def _count(self, made: Sequence[Decision], labels: int, rung: str) -> None:
        statuses = [each.applied.status for each in made]
        times = {status.value: statuses.count(status) for status in DECIDED} | {"labels": labels}
        self.counts.update({name: count for name, count in times.items() if count})
        self.rungs.update({rung: len(made)} if rung else Counter([each.rung for each in made]))

    def _bury(self, outputs: Outputs, work: Work, placed: Sequence[DeadLetter | Answer]) -> None:
        for record, each in zip(work.records, placed, strict=True):
            if isinstance(each, Refused):
                people = self._emitter.people_of(each.event)
                letter = self._codec.dead_letter(record, each.reason, CONFLICT, people)
            elif isinstance(each, DeadLetter):
                letter = each
            else:
                continue
            self.counts["dead_letters"] += 1
            self.buried[letter.kind] += 1
            outputs.setdefault(letter.topic + ".dlq", []).append(self._office.outgoing(letter, work.seals))
