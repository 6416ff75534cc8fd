"""SipHash-2-4 of each text of a column."""

from __future__ import annotations

from typing import Any

import numpy as np

from base.arrays import Bytes, Ints32, Longs
from base.compiled import compiled, inner, load64

_WORD = 8


@compiled
def siphash(ends: Ints32, data: Bytes, key: Longs, hashes: Longs) -> None:
    """Hash the texts.

    Args:
        ends: int32[N + 1], begin of the first text in ``data``, then the end of each.
        data: uint8[B], bytes of the texts in UTF-8.
        key: int64[2].
        hashes: int64[N], filled.
    """
    for row in range(len(hashes)):
        at, end = np.int64(ends[row]), np.int64(ends[row + 1])
        last: Any = (end - at) << 56
        v0 = key[0] ^ 0x736F6D6570736575
        v1 = key[1] ^ 0x646F72616E646F6D
        v2 = key[0] ^ 0x6C7967656E657261
        v3 = key[1] ^ 0x7465646279746573
        while end - at >= _WORD:
            v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, load64(data, at))
            at += _WORD
        for place in range(end - at):
            last |= np.int64(data[at + place]) << (8 * place)
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, last)
        v2 ^= 0xFF
        for _ in range(4):
            v0, v1, v2, v3 = _mix(v0, v1, v2, v3)
        hashes[row] = v0 ^ v1 ^ v2 ^ v3


@inner
def _absorb(v0: int, v1: int, v2: int, v3: int, word: int) -> tuple[int, int, int, int]:
    v3 ^= word
    v0, v1, v2, v3 = _mix(v0, v1, v2, v3)
    v0, v1, v2, v3 = _mix(v0, v1, v2, v3)
    return v0 ^ word, v1, v2, v3


@inner
def _mix(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    """One round."""
    v0 += v1
    v2 += v3
    v1 = _turn(v1, 13) ^ v0
    v3 = _turn(v3, 16) ^ v2
    v0 = _turn(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _turn(v1, 17) ^ v2
    v3 = _turn(v3, 21) ^ v0
    return v0, v1, _turn(v2, 32), v3


@inner
def _turn(value: int, bits: int) -> int:
    """Rotate to the left. The shift to the right copies the sign, which the mask removes."""
    return (value << bits) | ((value >> (64 - bits)) & ((1 << bits) - 1))
