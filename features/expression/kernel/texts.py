"""Search of texts in a sorted list."""

from __future__ import annotations

from typing import Any

import numpy as np

from base.arrays import Bytes, Floats, Ints32
from base.compiled import compiled, inner


@compiled
def number_texts(
    ends: Ints32, data: Bytes, listed_ends: Ints32, listed: Bytes, numbers: Floats, result: Floats
) -> None:
    """Find the number of each text.

    Args:
        ends: int32[N + 1], begin of the first text in ``data``, then the end of each.
        data: uint8[B], bytes of the texts in UTF-8.
        listed_ends: int32[V + 1].
        listed: Bytes of the V listed texts, in ascending order, each once.
        numbers: float64[V + 1], number of each listed text, then of all others.
        result: float64[N], filled.
    """
    count = len(listed_ends) - 1
    for row in range(len(result)):
        low, high, number = 0, count, count
        while low < high:
            middle = (low + high) // 2
            order = _compare(
                data, ends[row], ends[row + 1], listed, listed_ends[middle], listed_ends[middle + 1]
            )
            if order == 0:
                number = middle
                break
            if order > 0:
                low = middle + 1
            else:
                high = middle
        result[row] = numbers[number]


@inner
def _compare(a: Bytes, begin: int, end: int, b: Bytes, b_begin: int, b_end: int) -> int:
    """Compare two texts byte by byte: negative if the first one comes first, 0 if equal."""
    for place in range(min(end - begin, b_end - b_begin)):
        difference: Any = np.int64(a[begin + place]) - np.int64(b[b_begin + place])
        if difference != 0:
            return difference
    longer: Any = np.int64(end - begin) - np.int64(b_end - b_begin)
    return longer
