"""Kafka's default partitioner: the partition of each record key."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint32]

_SEED = np.uint32(0x9747B28C)
_M = np.uint32(0x5BD1E995)
_WORD = 4
_POSITIVE = np.uint32(0x7FFFFFFF)


def partitions_of(keys: pa.StringArray, partitions: int) -> npt.NDArray[np.int32]:
    """Partition of each key of a StringArray[N] without nulls, int32[N]."""
    return ((murmur2(keys) & _POSITIVE) % np.uint32(partitions)).astype(np.int32)


def murmur2(values: pa.StringArray) -> Hashes:
    """MurmurHash2 with Kafka's seed over the UTF-8 bytes of each value, uint32[N].

    (``org.apache.kafka.common.utils.Utils.murmur2``, whose int has the same 32 bits.)
    """
    if not len(values):
        return np.empty(0, np.uint32)
    bounds = np.frombuffer(values.buffers()[1], np.int32)
    bounds = bounds[values.offset : values.offset + len(values) + 1]
    data = values.buffers()[2]
    # Three bytes more: the last bytes of a value are read as a word too.
    text = (b"" if data is None else bytes(data[bounds[0] : bounds[-1]])) + bytes(_WORD - 1)
    words: Hashes = np.ndarray((len(text) - _WORD + 1,), "<u4", text, strides=(1,))
    begins, lengths = bounds[:-1] - bounds[0], np.diff(bounds)
    hashes = _SEED ^ lengths.astype(np.uint32)
    for done in range(0, int(lengths.max()) - _WORD + 1, _WORD):
        rows = np.flatnonzero(lengths >= done + _WORD)
        hashes[rows] = (hashes[rows] * _M) ^ _mixed(words[begins[rows] + done])
    rest = lengths % _WORD
    rows = np.flatnonzero(rest)
    used = (np.uint32(1) << (rest[rows].astype(np.uint32) * np.uint32(8))) - np.uint32(1)
    tails = words[begins[rows] + lengths[rows] - rest[rows]] & used
    hashes[rows] = (hashes[rows] ^ tails) * _M
    hashes ^= hashes >> np.uint32(13)
    hashes *= _M
    hashes ^= hashes >> np.uint32(15)
    return hashes


def _mixed(words: Hashes) -> Hashes:
    mixed = words * _M
    mixed ^= mixed >> np.uint32(24)
    return mixed * _M
