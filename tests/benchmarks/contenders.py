"""The ways to score, or to forward, a Kafka topic that tests.benchmarks.kafka compares; one a process.

usage: python -m tests.benchmarks.contenders NAME   (WEIR_BROKER, WEIR_REDIS, ... in the environment, as for `weir worker`)

All that score make the same calls of the same role, so that only the way in which events come and go differs;
the textbook app is the exception: it is what the libraries' documentation adds up to. Each runs until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.asyncio import Redis

from stream import bootstrap
from stream.agents import SETTINGS, guarded, make_app, outlet_for, serve
from stream.chunks import chunks
from stream.config import Config, load
from stream.decisions import DECISIONS, TRANSACTIONS
from stream.kafka import _send, servers_of
from stream.partition import parted
from stream.records import TP, Outgoing, Record
from tests.benchmarks import textbook

FETCHED = 1_000
Outputs = Mapping[str, Sequence[Outgoing]]
Work = Callable[[Sequence[Record]], Outputs]

parse = msgspec.json.Decoder().decode


def forward(records: Sequence[Record]) -> Outputs:
    """Parse every value and send it on."""
    for record in records:
        parse(record.value)
    return {DECISIONS: [Outgoing(record.key, record.value) for record in records]}


def scoring(config: Config) -> Work:
    """What the score role makes of records."""
    role, _ = bootstrap.score_role(config)
    return role.run


# --- Faust, in chunks: what `weir worker` is; here for work that is no role


async def faust_in_chunks(config: Config, work: Work) -> None:
    """Weir's own way in and out."""
    app = make_app(f"{config.topic_prefix}chunks", config.broker, config.dir / "faust")
    outlet = outlet_for(app, config.topic_prefix)

    @app.agent(app.topic(config.topic(TRANSACTIONS)))
    @guarded
    async def agent(stream: Any) -> None:
        async for chunk in chunks(stream):
            await outlet.send(work(chunk.records))
            chunk.done()

    await serve(app)


# --- Faust as it comes


async def faust_by_event(config: Config, work: Work) -> None:
    """An event at a time, its outputs sent one by one."""
    app = faust.App(
        f"{config.topic_prefix}events", broker=config.broker, datadir=str(config.dir / "faust"), **SETTINGS
    )

    @app.agent(app.topic(config.topic(TRANSACTIONS)))
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            await _send_each(app, config, work([_record_of(event.message)]))

    await serve(app)


async def _send_each(app: faust.App, config: Config, outputs: Outputs) -> None:
    for name, records in outputs.items():
        for record in records:
            await app.topic(config.topic(name)).send(key=record.key, value=record.value)


def _record_of(message: Any) -> Record:
    headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers or ()
    at_ms = int(message.timestamp * 1000)
    return Record(
        message.topic, message.partition, message.offset, message.key, message.value, tuple(headers), at_ms
    )


async def textbook_app(config: Config, work: Work) -> None:
    """The textbook app, on Faust's own transport."""
    redis, never = Redis.from_url(str(config.redis)), asyncio.Event()
    app, _ = textbook.app_of(config.broker, redis, 0, never, config.topic_prefix)
    await serve(app)


# --- aiokafka alone


async def aiokafka_loop(config: Config, work: Work) -> None:
    """A loop: fetch a micro-batch, work, send it in batches, commit."""
    servers = servers_of(config.broker)
    consumer = AIOKafkaConsumer(
        config.topic(TRANSACTIONS),
        bootstrap_servers=servers,
        group_id=f"{config.topic_prefix}loop",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=900_000)
    await consumer.start()
    await producer.start()
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=FETCHED)
        records = [_record_from(tp, each) for tp, some in fetched.items() for each in some]
        if records:
            await _send_all(producer, config, work(records))
            await consumer.commit()


async def _send_all(producer: AIOKafkaProducer, config: Config, outputs: Outputs) -> None:
    sends: list[Awaitable[None]] = []
    for name, records in outputs.items():
        topic = config.topic(name)
        count = len(await producer.partitions_for(topic))
        sends += [_send(producer, TP(topic, part), some) for part, some in parted(records, count).items()]
    await asyncio.gather(*sends)


def _record_from(tp: Any, each: Any) -> Record:
    return Record(
        tp.topic, tp.partition, each.offset, each.key, each.value, tuple(each.headers), each.timestamp
    )


# --- Quix Streams


def quix(config: Config, work: Work) -> None:
    """Quix Streams as its documentation shows it: a dataframe, a function an event."""
    from quixstreams import Application

    app = Application(
        broker_address=",".join(servers_of(config.broker)),
        consumer_group=f"{config.topic_prefix}quix",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=config.dir / "quix",
    )
    raw = {"value_deserializer": "bytes", "key_deserializer": "bytes"}
    source = app.topic(config.topic(TRANSACTIONS), **raw)
    target = app.topic(config.topic(DECISIONS), value_serializer="bytes", key_serializer="bytes")

    def apply(value: bytes, key: bytes, timestamp: int, headers: Any) -> list[bytes]:
        record = Record(source.name, 0, 0, key, value, tuple(headers or ()), timestamp)
        return [out.value for out in work([record])[DECISIONS]]

    app.dataframe(source).apply(apply, metadata=True, expand=True).to_topic(target)
    app.run()


FORWARDING: dict[str, Callable[[Config, Work], Any]] = {
    "forward-chunks": faust_in_chunks,
    "forward-aiokafka": aiokafka_loop,
    "forward-quix": quix,
    "forward-events": faust_by_event,
}
SCORING: dict[str, Callable[[Config, Work], Any]] = {
    "score-aiokafka": aiokafka_loop,
    "score-quix": quix,
    "score-events": faust_by_event,
    "textbook": textbook_app,
}


def main(names: Iterable[str]) -> None:
    """Run the contender of this name."""
    (name,) = names
    config = load({}, os.environ, Path("no.toml"))
    run = (FORWARDING | SCORING)[name]
    work = scoring(config) if name.startswith("score-") else forward
    running = run(config, work)
    if running is not None:
        asyncio.run(running)


if __name__ == "__main__":
    main(sys.argv[1:])
