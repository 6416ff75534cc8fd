"""Segment-wise std, min, max, distinct and last over concatenated arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from features.windows.ragged import Longs, Mask, Pairs
from features.windows.window import Aggregate

Floats = npt.NDArray[np.float64]
Reduced = tuple[Floats, Mask]
"""float64[Q], the results; bool[Q], True where there is a result."""


def std(query: Longs, values: Longs, queries: int) -> Reduced:
    """Sample standard deviation (n - 1), in two passes: the mean, then the squares about it."""
    count = np.bincount(query, minlength=queries)
    there = count > 1
    running = np.concatenate(([0], np.cumsum(values)))
    through = np.cumsum(count)
    mean = (running[through] - running[through - count]) / np.maximum(count, 1)
    apart = values - mean[query]
    # bincount adds one after the other, in member order: the same bits in any company.
    squares = np.bincount(query, apart * apart, queries)
    return np.sqrt(squares / np.maximum(count - 1, 1)), there


def least(query: Longs, values: Longs, queries: int) -> Reduced:
    """The smallest value."""
    return _extreme(np.minimum, query, values, queries)


def greatest(query: Longs, values: Longs, queries: int) -> Reduced:
    """The largest value."""
    return _extreme(np.maximum, query, values, queries)


def distinct(query: Longs, values: Longs, queries: int) -> Reduced:
    """Number of distinct values."""
    order = np.lexsort((values, query))
    query, values = query[order], values[order]
    new = np.ones(len(query), np.bool_)
    new[1:] = (query[1:] != query[:-1]) | (values[1:] != values[:-1])
    count = np.bincount(query[new], minlength=queries)
    return count.astype(np.float64), count > 0


def last(pairs: Pairs, queries: int) -> Longs:
    """Last item of each run, int64[queries]; -1 for an empty run."""
    found = np.full(queries, -1)
    found[pairs.query] = pairs.item  # of several writes to one place numpy keeps the last
    return found


def _extreme(choose: np.ufunc, query: Longs, values: Longs, queries: int) -> Reduced:
    result, there = np.zeros(queries), np.zeros(queries, np.bool_)
    if len(query):
        begins = np.flatnonzero(np.diff(query, prepend=-1))
        result[query[begins]] = choose.reduceat(values, begins)
        there[query[begins]] = True
    return result, there


REDUCERS: Mapping[Aggregate, Callable[[Longs, Longs, int], Reduced]] = {
    Aggregate.STD: std,
    Aggregate.MIN: least,
    Aggregate.MAX: greatest,
    Aggregate.DISTINCT: distinct,
}
