"""Runs of different lengths, one for each event, concatenated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_PAIRS = 2**22
"""Maximum number of pairs that are expanded at once, unless one run alone is longer."""


class Pairs(NamedTuple):
    """Items of concatenated runs.

    Attributes:
        query: int64[P], non-decreasing, the run of each item.
        item: int64[P], the item.
    """

    query: Longs
    item: Longs

    def where(self, kept: Mask) -> Pairs:
        return Pairs(self.query[kept], self.item[kept])


def expand(first: Longs, end: Longs) -> Pairs:
    """Expand the runs [first, end) of Q queries to all their items."""
    lengths = np.maximum(end - first, 0)
    query = np.repeat(np.arange(len(first)), lengths)
    before = np.cumsum(lengths) - lengths
    return Pairs(query, np.arange(len(query)) - (before - first)[query])


def slices(first: Longs, end: Longs) -> Iterator[slice]:
    """Slices of Q queries whose runs have at most MOST_PAIRS items in total."""
    through = np.cumsum(np.maximum(end - first, 0))
    begin = 0
    while begin < len(first):
        done = through[begin - 1] if begin else 0
        until = int(np.searchsorted(through, done + MOST_PAIRS, "right"))
        yield slice(begin, max(until, begin + 1))
        begin = max(until, begin + 1)
