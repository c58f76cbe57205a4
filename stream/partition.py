"""Which partition a key belongs to: Kafka's own rule, so that keys keep their places on either log."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from stream.records import Outgoing

REMEMBERED = 100_000
"""Keys whose partition is not computed again: a hash in Python takes microseconds, and busy keys come often."""

MASK, M = 0xFFFFFFFF, 0x5BD1E995


@lru_cache(REMEMBERED)
def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition of a key; 0 without a key, so that it is the same one on every try."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions if key is not None else 0


def parted(records: Sequence[Outgoing], partitions: int) -> dict[int, Sequence[Outgoing]]:
    """Records by partition, in their order."""
    if partitions == 1:
        return {0: records} if records else {}
    groups: dict[int, list[Outgoing]] = {}
    for record in records:
        groups.setdefault(partition_of(record.key, partitions), []).append(record)
    return dict(groups)


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned number.

    >>> hex(murmur2(b"21"))
    '0xc5f2f8ec'
    """
    h = (0x9747B28C ^ len(data)) & MASK
    whole = len(data) & ~3
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * M & MASK
        k = (k ^ k >> 24) * M & MASK
        h = (h * M & MASK) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * M & MASK
    h = (h ^ h >> 13) * M & MASK
    return h ^ h >> 15
