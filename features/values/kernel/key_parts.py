"""Texts of composite keys: the parts of each row, escaped and joined."""

from __future__ import annotations

import numpy as np

from base.arrays import Bytes, Ints32, Longs
from base.compiled import compiled

SEPARATOR, ESCAPE = ord("|"), ord("\\")
ABSENT = ord("N")
"""Character behind ESCAPE that stands for a part without text."""


@compiled
def add_part_sizes(ends: Ints32, data: Bytes, sizes: Longs) -> None:
    """Add the size of one part, escaped, to the size of each key.

    Args:
        ends: int32[N + 1], begin of the first part in ``data``, then the end of each.
        data: uint8[B], bytes of the parts in UTF-8.
        sizes: int64[N], changed.
    """
    for row in range(len(sizes)):
        begin, end = ends[row], ends[row + 1]
        size = np.int64(end - begin) if begin < end else 2
        for at in range(begin, end):
            size += data[at] == SEPARATOR or data[at] == ESCAPE
        sizes[row] += size


@compiled
def append_parts(ends: Ints32, data: Bytes, key_ends: Ints32, places: Ints32, keys: Bytes) -> None:
    """Write one part of each key behind those that are written, with a separator between.

    Args:
        ends: int32[N + 1], as in `add_part_sizes`.
        data: uint8[B], likewise.
        key_ends: int32[N + 1], begin of the first key in ``keys``, then the end of each; a key
            without bytes is left out.
        places: int32[N], end of what is written of each key; changed.
        keys: uint8[K], filled.
    """
    for row in range(len(places)):
        if key_ends[row] == key_ends[row + 1]:
            continue
        at = places[row]
        if at > key_ends[row]:
            keys[at] = SEPARATOR
            at += 1
        begin, end = ends[row], ends[row + 1]
        if begin == end:
            keys[at] = ESCAPE
            keys[at + 1] = ABSENT
            at += 2
        for byte in range(begin, end):
            if data[byte] == SEPARATOR or data[byte] == ESCAPE:
                keys[at] = ESCAPE
                at += 1
            keys[at] = data[byte]
            at += 1
        places[row] = at
