"""Reading on Kafka with kafka-python and without a consumer group: following one topic, or partitions from given offsets on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from stream.kafka import CONNECT_MS, RECONNECT_MS, BrokerError, record_of, servers_of, told
from stream.records import TP, Record
from stream.security import IN_THE_CLEAR, KafkaSecurity
from stream.topics import MODEL_BYTES

PAUSE_MS = 250
"""How long a read waits for a record."""


class KafkaTail:
    """A topic from its beginning on (stream.records.Tail). One thread at a time may use it."""

    def __init__(self, url: str, topic: str, security: KafkaSecurity = IN_THE_CLEAR) -> None:
        """Begin at the oldest record; raises BrokerError where that cannot be done."""
        self._url, self._topic, self._security = url, topic, security
        with told(url, security):
            self._consumer = _consumer(url, security)
            self.rewind()

    def read(self) -> list[Record]:
        """The next records, waiting for them for PAUSE_MS; raises BrokerError."""
        with told(self._url, self._security):
            polled = self._consumer.poll(PAUSE_MS)
        return [record_of(tp, record) for tp, records in polled.items() for record in records]

    def catch_up(self) -> list[Record]:
        """All that stands there by now and was not read yet; raises BrokerError. Where that is nothing it is one question."""
        found: list[Record] = []
        with told(self._url, self._security):
            ends = self._consumer.end_offsets(list(self._ends))
            while any(self._consumer.position(tp) < end for tp, end in ends.items()):
                found += self.read()
        return found

    def at_end(self) -> bool:
        """Whether all was read that was there at the beginning; raises BrokerError."""
        with told(self._url, self._security):
            return all(self._consumer.position(tp) >= end for tp, end in self._ends.items())

    def rewind(self) -> None:
        """Begin anew; raises BrokerError."""
        with told(self._url, self._security):
            parts = self._consumer.partitions_for_topic(self._topic)
            if not parts:
                raise BrokerError(f"there is no topic {self._topic}: `weir topics create` makes it")
            tps = [TopicPartition(self._topic, part) for part in sorted(parts)]
            self._consumer.assign(tps)
            self._consumer.seek_to_beginning(*tps)
            self._ends: dict[TopicPartition, int] = self._consumer.end_offsets(tps)

    def close(self) -> None:
        """Give back the connections."""
        self._consumer.close()


class KafkaReader:
    """Partitions from given offsets on (stream.records.LogReader). One thread at a time may use it."""

    def __init__(self, url: str, positions: Mapping[TP, int], security: KafkaSecurity = IN_THE_CLEAR) -> None:
        """Stand at these offsets; what the log has let go of is passed over. Raises BrokerError."""
        self._url, self._security = url, security
        with told(url, security):
            self._consumer = _consumer(url, security)
            self._consumer.assign([TopicPartition(*tp) for tp in positions])
            for tp, offset in positions.items():
                self._consumer.seek(TopicPartition(*tp), offset)
        self._positions = dict(positions)

    @property
    def positions(self) -> Mapping[TP, int]:
        """By partition: the offset behind what was read, and behind what is no record (a transaction's end)."""
        return self._positions

    def fetch(self, max_records: int) -> list[Record]:
        """The next records, waiting for them for PAUSE_MS; raises BrokerError."""
        with told(self._url, self._security):
            polled = self._consumer.poll(PAUSE_MS, max_records=max_records)
            self._positions = {tp: self._consumer.position(TopicPartition(*tp)) for tp in self._positions}
        return [record_of(tp, record) for tp, records in polled.items() for record in records]

    def close(self) -> None:
        """Give back the connections."""
        self._consumer.close()


def _consumer(url: str, security: KafkaSecurity) -> Any:
    return KafkaConsumer(
        bootstrap_servers=servers_of(url),
        bootstrap_timeout_ms=CONNECT_MS,
        reconnect_backoff_max_ms=RECONNECT_MS,
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # compaction and retention take away where it stood
        max_partition_fetch_bytes=MODEL_BYTES,
        **security.client(),
    )
