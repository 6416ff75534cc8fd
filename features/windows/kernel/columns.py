"""Sorting and searching of columns of whole numbers, and hash tables of their places."""

from __future__ import annotations

import numpy as np

from base.arrays import Longs
from base.compiled import inner, leaf
from features.windows.kernel.structs import NOWHERE


@leaf
def before(columns: Longs, keys: int, one: int, other: int) -> bool:
    """True if column ``one`` is less than ``other`` by the first ``keys`` rows."""
    for row in range(keys):
        if columns[row, one] != columns[row, other]:
            return columns[row, one] < columns[row, other]
    return False


@inner
def sort(columns: Longs, keys: int, count: int) -> None:
    """Sort the first ``count`` columns by the first ``keys`` rows; equal ones keep their order."""
    order = _order(columns, keys, count)
    unsorted = np.empty(count, np.int64)
    for row in range(columns.shape[0]):
        for place in range(count):
            unsorted[place] = columns[row, place]
        for place in range(count):
            columns[row, place] = unsorted[order[place]]


@inner
def _order(columns: Longs, keys: int, count: int) -> Longs:
    """Order of the columns, by a merge sort. np.argsort would take seconds to compile."""
    order, other = np.empty(count, np.int64), np.empty(count, np.int64)
    for place in range(count):
        order[place] = place
    width = 1
    while width < count:
        for low in range(0, count, 2 * width):
            middle, high = min(low + width, count), min(low + 2 * width, count)
            left, right = low, middle
            for place in range(low, high):
                if left < middle and (
                    right >= high or not before(columns, keys, order[right], order[left])
                ):
                    other[place] = order[left]
                    left += 1
                else:
                    other[place] = order[right]
                    right += 1
        order, other = other, order
        width *= 2
    return order


@leaf
def behind(columns: Longs, row: int, count: int, value: int) -> int:
    """Number of values that are at most ``value`` among the first ``count`` of an ascending row."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if columns[row, middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@leaf
def clear_table(table: Longs, count: int) -> int:
    """Clear the slots of a hash table for ``count`` ids; return their number, a power of 2."""
    size = 2
    while size < 2 * count:
        size *= 2
    for slot in range(size):
        table[0, slot] = NOWHERE
    return size


@leaf
def first_of(columns: Longs, row: int, count: int, value: int) -> int:
    """Place of the first ``value`` among the first ``count`` of an ascending row, or NOWHERE."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if columns[row, middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < count and columns[row, low] == value else NOWHERE
