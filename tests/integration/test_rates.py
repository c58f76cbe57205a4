"""Rates on Kafka: they arrive when a broker takes them, and are known as soon as they stand there."""

from contextlib import closing
from uuid import uuid4

import msgspec

from features.profile import load
from features.rates import RateTable
from stream.broker import publisher_for, tail_for
from stream.kafka_admin import KafkaAdmin
from stream.rates import Rates
from stream.records import Outgoing
from stream.topics import wanted

ROW = {"currency": "USD", "to": "EUR", "rate": "0.9", "at": "2026-01-02T00:00:00Z"}


def test_rates_are_read_to_their_end_whenever_they_are_asked_for(kafka):
    url, prefix = f"kafka://{kafka}", f"t{uuid4().hex[:8]}."
    topic = f"{prefix}rates"
    with KafkaAdmin(url) as admin:
        admin.create(
            each for each in wanted(load("payments").topics, prefix, converts=True) if each.name == topic
        )
        [settings] = [each.settings for each in admin.topics([topic]).values()]
    assert (settings["cleanup.policy"], settings["message.timestamp.type"]) == ("compact", "LogAppendTime")
    table = RateTable("EUR")
    with closing(publisher_for(url)) as publisher, closing(tail_for(url, topic)) as tail:
        rates = Rates(table, lambda: tail)
        rates.catch_up()
        assert len(rates) == 0
        for number in range(1, 300):
            value = msgspec.json.encode({**ROW, "rate": number})
            publisher.publish(topic, [Outgoing(b"k%d" % number, value)])
            if number % 30 == 0:
                rates.catch_up()
                assert len(rates) == number
        rates.catch_up()
        assert (len(rates), rates.refused) == (299, 0)
        newest = table.newest("USD", 1 << 62, 1 << 62)
        assert newest.rate == "299"
        assert table.newest("USD", 1 << 62, newest.counts_us - 1).rate != "299", (
            "it arrived when it was taken"
        )
