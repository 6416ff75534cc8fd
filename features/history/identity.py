"""Names of events and values in 64 bits.

MurmurHash64A with seed 0 (Austin Appleby, public domain), over the UTF-8 bytes of each string, a
column at a time. Two ids of one history share a name with a chance of one in 2**64 for each pair.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Names = npt.NDArray[np.uint64]

_M = np.uint64(0xC6A4A7935BD1E995)
_SHIFT = np.uint64(47)
_WORD = 8


def names(values: pa.StringArray) -> Names:
    """uint64[N] of a StringArray[N] without nulls."""
    n = len(values)
    bounds = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + n + 1]
    if not n:
        return np.empty(0, np.uint64)
    begins = (bounds[:-1] - bounds[0]).astype(np.int64)
    lengths = np.diff(bounds).astype(np.int64)
    data = values.buffers()[2]
    text = (
        b""
        if data is None
        else data.slice(int(bounds[0]), int(bounds[-1] - bounds[0])).to_pybytes()
    )
    padded = text + bytes(_WORD)
    words: Names = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))
    found = lengths.astype(np.uint64) * _M
    longest = int(lengths.max(initial=0))
    for done in range(0, longest - _WORD + 1, _WORD):
        rows = np.flatnonzero(lengths >= done + _WORD)
        found[rows] = (found[rows] ^ _mixed(words[begins[rows] + done])) * _M
    rest = lengths % _WORD
    rows = np.flatnonzero(rest)
    tails = words[begins[rows] + lengths[rows] - rest[rows]]
    mask = (np.uint64(1) << (rest[rows].astype(np.uint64) * np.uint64(8))) - np.uint64(1)
    found[rows] = (found[rows] ^ (tails & mask)) * _M
    found ^= found >> _SHIFT
    found *= _M
    found ^= found >> _SHIFT
    return found


def _mixed(words: Names) -> Names:
    mixed = words * _M
    mixed ^= mixed >> _SHIFT
    return mixed * _M
