"""Aggregates of the values of the members in ``chosen``, whole numbers, in member order."""

from __future__ import annotations

import numpy as np

from base.arrays import Longs
from base.compiled import leaf
from features.expression.kernel.elementary import power_of_half
from features.windows.kernel import rows
from features.windows.kernel.structs import NOWHERE


@leaf
def std(members: Longs, chosen: Longs, number: int, value: int, total: int) -> float:
    """Sample standard deviation (n - 1); squares are added in member order."""
    mean, squares = np.float64(total) / np.float64(number), 0.0
    for index in range(number):
        apart = np.float64(members[value, chosen[index]]) - mean
        squares += apart * apart
    return np.sqrt(squares / np.float64(number - 1))


@leaf
def extreme(members: Longs, chosen: Longs, number: int, value: int, least: bool) -> int:
    """The smallest or the largest value."""
    extreme = members[value, chosen[0]]
    for index in range(1, number):
        other = members[value, chosen[index]]
        if (other < extreme) if least else (other > extreme):
            extreme = other
    return extreme


@leaf
def percentile(
    members: Longs, chosen: Longs, number: int, value: int, percent: float, values: Longs
) -> float:
    """Interpolate between the two values nearest to a rank, as numpy's method ``linear``.

    The lower one is found by halving the range of values: at most 63 times, whatever they are.
    """
    low = high = members[value, chosen[0]]
    for index in range(number):
        kept = members[value, chosen[index]]
        values[index] = kept
        low, high = min(low, kept), max(high, kept)
    rank = np.float64(number - 1) * percent / 100.0
    below = np.int64(rank)
    share = rank - np.float64(below)
    largest = high
    while low < high:
        middle = low + ((high - low) >> 1)
        if _at_most(values, number, middle) > below:
            high = middle
        else:
            low = middle + 1
    if share == 0.0 or _at_most(values, number, low) > below + 1:
        return np.float64(low)
    upper = largest
    for index in range(number):
        if low < values[index] < upper:
            upper = values[index]
    return np.float64(low) + np.float64(upper - low) * share


@leaf
def _at_most(values: Longs, number: int, bound: int) -> int:
    """Number of values that are at most ``bound``."""
    count = 0
    # Without a branch in the loop, so that it is vectorised.
    for index in range(number):
        count += values[index] <= bound
    return count


@leaf
def decayed(
    members: Longs, chosen: Longs, number: int, value: int, half_life: float, until: int
) -> float:
    """Sum of the values, or of ones without a value; each halved every half-life before ``until``.

    Products are added in member order.
    """
    total = 0.0
    for index in range(number):
        column = chosen[index]
        weight = power_of_half(np.float64(until - members[rows.TIME, column]) / half_life)
        if value == NOWHERE:
            total += weight
        else:
            total += weight * np.float64(members[value, column])
    return total
