"""The textbook app: what the documentation of Faust, redis-py and River adds up to, an event at a time.

It computes the handbook's fifteen features from sorted sets, one awaited Redis call each, as tutorials do;
scores with River's ``StandardScaler | LogisticRegression``, learns from each label on its own, and sends each
decision on its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faust
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types.tuples import TP, ConsumerMessage
from redis.asyncio import Redis
from river import linear_model, preprocessing
from yarl import URL

from stream.embedded.log import Log
from stream.embedded.transport import Consumer, Transport
from stream.files import Parcel
from stream.records import Record

DAY = 86_400
WINDOWS = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
LONGEST = 30 * DAY


class Transaction(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
    """A payment of the handbook, the fields that are read."""

    TRANSACTION_ID: int
    TX_DATETIME: str
    CUSTOMER_ID: int
    TERMINAL_ID: int
    TX_AMOUNT: float


class Features:
    """The fifteen features, from sorted sets: score = time, member = id and value."""

    def __init__(self, redis: Redis) -> None:
        """Keep the sets in `redis`."""
        self.redis = redis

    async def of(self, tx: Transaction) -> dict[str, float]:
        """Add a payment to its customer and its terminal and compute its features."""
        when = datetime.fromisoformat(tx.TX_DATETIME).replace(tzinfo=UTC)
        at = when.timestamp()
        customer, terminal = f"customer:{tx.CUSTOMER_ID}", f"terminal:{tx.TERMINAL_ID}"
        await self._add(customer, f"{tx.TRANSACTION_ID}:{tx.TX_AMOUNT}", at)
        await self._add(terminal, str(tx.TRANSACTION_ID), at)
        features = {
            "amount": float(tx.TX_AMOUNT),
            "weekend": float(when.weekday() >= 5),
            "night": float(when.hour < 6),
        }
        for name, seconds in WINDOWS.items():
            since = f"({at - seconds}"
            features[f"customer_count_{name}"] = await self.redis.zcount(customer, since, at)
            features[f"customer_mean_amount_{name}"] = await self._mean(customer, since, at)
            features[f"terminal_count_{name}"] = await self.redis.zcount(terminal, since, at)
            features[f"terminal_risk_{name}"] = await self._mean(f"labels:{terminal}", since, at)
        return features

    async def label(self, event_id: str, terminal: int, fraud: bool, at: float) -> None:
        """Note a label that arrived for a terminal's payment."""
        await self._add(f"labels:terminal:{terminal}", f"{event_id}:{int(fraud)}", at)

    async def _add(self, key: str, member: str, at: float) -> None:
        await self.redis.zadd(key, {member: at})
        await self.redis.zremrangebyscore(key, "-inf", at - LONGEST)

    async def _mean(self, key: str, since: str, until: float) -> float:
        members = await self.redis.zrangebyscore(key, since, until)
        values = [float(member.rpartition(b":")[2]) for member in members]
        return sum(values) / len(values) if values else 0.0


class Model:
    """River as its documentation shows it."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression()

    def score(self, features: Mapping[str, float]) -> float:
        """The probability of fraud."""
        return float(self.pipeline.predict_proba_one(dict(features)).get(True, 0.0))

    def learn(self, features: Mapping[str, float], fraud: bool) -> None:
        """Learn from one label."""
        self.pipeline.learn_one(dict(features), fraud)


class Textbook:
    """What the two agents do with one event."""

    def __init__(self, redis: Redis) -> None:
        """Keep windows and logged features in `redis`."""
        self.features = Features(redis)
        self.model = Model()
        self.redis = redis
        self.decided = 0

    async def transaction(self, tx: Transaction) -> dict[str, Any]:
        """Decide one payment, and log what it was decided on."""
        features = await self.features.of(tx)
        score = self.model.score(features)
        logged = json.dumps({"terminal": tx.TERMINAL_ID, "features": features})
        await self.redis.set(f"features:{tx.TRANSACTION_ID}", logged, ex=2 * LONGEST)
        self.decided += 1
        return {"event_id": tx.TRANSACTION_ID, "score": score, "alert": score > 0.5, "features": features}

    async def label(self, label: Mapping[str, Any]) -> None:
        """Learn from one label, with the features logged at decision time."""
        logged = await self.redis.get(f"features:{label['event_id']}")
        if logged is None:
            return
        known, fraud = json.loads(logged), label["label"] == "fraud"
        at = datetime.fromisoformat(label["labelled_at"]).timestamp()
        await self.features.label(label["event_id"], known["terminal"], fraud, at)
        self.model.learn(known["features"], fraud)


class PlainConsumer(Consumer):
    """The embedded log delivered as Faust does it by itself: a message a record, its own acks and commits."""

    getmany = FaustConsumer.getmany
    ack = FaustConsumer.ack
    perform_seek = FaustConsumer.perform_seek
    on_partitions_revoked = FaustConsumer.on_partitions_revoked
    _new_offset = FaustConsumer._new_offset
    _add_gap = FaustConsumer._add_gap
    _filter_tps_with_pending_acks = FaustConsumer._filter_tps_with_pending_acks

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        by_partition: dict[TP, list[Record]] = {}
        for record in await super()._getmany(active_partitions, timeout):
            by_partition.setdefault(TP(record.topic, record.partition), []).append(record)
        return by_partition

    def _to_message(self, tp: TP, record: Record) -> ConsumerMessage:
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=record.offset,
            timestamp=record.timestamp_ms / 1000,
            timestamp_type=0,
            headers=list(record.headers),
            key=record.key,
            value=record.value,
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )


class PlainTransport(Transport):
    """``embedded://DIR`` without chunks."""

    Consumer = PlainConsumer


def app_of(
    broker: str, redis: Redis, events: int, finished: asyncio.Event, prefix: str = ""
) -> tuple[faust.App, Textbook]:
    """The app, on the embedded log or on Kafka; `finished` is set when it has decided so many events."""
    app = faust.App(
        f"{prefix}textbook",
        broker=broker,
        topic_partitions=1,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
    )
    if not broker.startswith("kafka://"):
        app.transport = PlainTransport([URL(broker)], app)
    book = Textbook(redis)
    decisions = app.topic(f"{prefix}decisions", value_serializer="json")

    @app.agent(app.topic(f"{prefix}transactions", value_type=Transaction))
    async def decide(stream: faust.Stream[Transaction]) -> None:
        async for tx in stream:
            await decisions.send(key=str(tx.CUSTOMER_ID), value=await book.transaction(tx))
            if book.decided == events:
                finished.set()

    @app.agent(app.topic(f"{prefix}labels", value_serializer="json"))
    async def learn(stream: faust.Stream[dict[str, Any]]) -> None:
        async for label in stream:
            await book.label(label)

    return app, book


async def measure(log: Path, redis_url: str, events: int) -> float:
    """Decide the events that lie on the log; gives events a second, from the first one on."""
    redis, finished = Redis.from_url(redis_url), asyncio.Event()
    app, book = app_of(f"embedded://{log}", redis, events, finished)
    await app.start()
    while not book.decided:
        await asyncio.sleep(0.001)
    started, before = time.perf_counter(), book.decided
    await finished.wait()
    seconds = time.perf_counter() - started
    await app.stop()
    await redis.aclose()
    return (events - before) / seconds


def run(log: Path, redis_url: str, parcels: Iterable[Parcel]) -> float:
    """Append the parcels to a fresh log at `log` and let the textbook app decide them; gives events a second.

    The Redis at `redis_url` should be empty.
    """
    events = 0
    appender = Log(log)
    for parcel in parcels:
        appender.append_many({"labels": parcel.labels, "transactions": parcel.events})
        events += len(parcel.events)
    return asyncio.run(measure(log, redis_url, events))
