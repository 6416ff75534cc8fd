"""Kafka's partitioner on columns: others' vectors, and the algorithm a byte at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.tables.event_files import murmur2, partitions_of

# Apache Kafka, org.apache.kafka.common.utils.UtilsTest.testMurmur2
VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def by_bytes(data: bytes) -> int:
    """The algorithm as Kafka writes it down, for one key; a signed int of 32 bits."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    found = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * m & mask
        word = (word ^ word >> 24) * m & mask
        found = found * m & mask ^ word
    if data[whole:]:
        found = (found ^ int.from_bytes(data[whole:], "little")) * m & mask
    found = (found ^ found >> 13) * m & mask
    found ^= found >> 15
    return found - 2**32 if found >= 2**31 else found


def test_kafkas_own_vectors() -> None:
    found = murmur2(pa.array(list(VECTORS))).astype(np.int32)
    assert dict(zip(VECTORS, found.tolist(), strict=True)) == VECTORS
    assert {key: by_bytes(key.encode()) for key in VECTORS} == VECTORS


@given(
    keys=st.lists(st.text(max_size=20), max_size=8),
    first=st.integers(0, 3),
    partitions=st.integers(1, 50),
)
def test_any_keys_of_any_slice(keys: list[str], first: int, partitions: int) -> None:
    sliced = pa.array(keys, pa.string())[first:]
    assert partitions_of(sliced, partitions).tolist() == [
        (by_bytes(key.encode()) & 0x7FFFFFFF) % partitions for key in keys[first:]
    ]


@pytest.mark.parametrize("keys", [[], [""], ["", ""]])
def test_keys_without_a_byte(keys: list[str]) -> None:
    assert partitions_of(pa.array(keys, pa.string()), 7).tolist() == [
        (by_bytes(b"") & 0x7FFFFFFF) % 7
    ] * len(keys)
