"""Groups of equal texts in a column."""

from __future__ import annotations

from typing import Any

import numpy as np

from base.arrays import Bytes, Ints32, Longs
from base.compiled import compiled, inner

_FREE = -1
_PRIME = 1_099_511_628_211
"""Multiplier of the hash FNV-1a."""


@compiled
def group_texts(ends: Ints32, data: Bytes, table: Longs, firsts: Longs, codes: Longs) -> int:
    """Number the distinct texts in the order of their first rows.

    Args:
        ends: int32[N + 1], begin of the first text in ``data``, then the end of each.
        data: uint8[B], bytes of the texts in UTF-8.
        table: int64[S], all -1; S is a power of 2 above N.
        firsts: int64[N], filled with the first row of each distinct text.
        codes: int64[N], filled with the number of each row's text.

    Returns:
        Number of distinct texts.
    """
    count, mask = 0, len(table) - 1
    for row in range(len(codes)):
        begin, end = ends[row], ends[row + 1]
        mixed: Any = np.int64(end - begin)
        for at in range(begin, end):
            mixed = (mixed ^ data[at]) * _PRIME
        slot = (mixed ^ (mixed >> 32)) & mask
        while table[slot] != _FREE and not _is_equal(ends, data, row, firsts[table[slot]]):
            slot = (slot + 1) & mask
        if table[slot] == _FREE:
            table[slot] = count
            firsts[count] = row
            count += 1
        codes[row] = table[slot]
    return count


@compiled
def copy_texts(ends: Ints32, data: Bytes, rows: Longs, copied_ends: Ints32, copied: Bytes) -> None:
    """Copy the texts of some rows.

    Args:
        ends: int32[N + 1], as in `group_texts`.
        data: uint8[B], likewise.
        rows: int64[U].
        copied_ends: int32[U + 1], filled like ``ends``.
        copied: uint8[B], filled like ``data`` as far as needed.
    """
    at = 0
    copied_ends[0] = 0
    for place in range(len(rows)):
        for byte in range(ends[rows[place]], ends[rows[place] + 1]):
            copied[at] = data[byte]
            at += 1
        copied_ends[place + 1] = at


@inner
def _is_equal(ends: Ints32, data: Bytes, one: int, other: int) -> bool:
    begin, other_begin = ends[one], ends[other]
    length = ends[one + 1] - begin
    if ends[other + 1] - other_begin != length:
        return False
    place = 0
    while place < length and data[begin + place] == data[other_begin + place]:
        place += 1
    return bool(place == length)
