"""Watermarks: how far event time has come in a partition, whatever a few wild events say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]

UNKNOWN = np.iinfo(np.int64).min
"""The watermark of a partition that has had too few events, and the time of one that is not to
support it."""


def enough_to_begin(support: int) -> int:
    """How many events histories need before they reach back to the watermark behind these.

    It is then in the middle of their times, or later: fewer than ``support`` wild ones among them,
    of the past or the future, move nothing.
    """
    return 2 * support - 1


def advance(
    times: Longs, highest: Sequence[int], support: int
) -> tuple[Longs, Longs, tuple[int, ...]]:
    """Move a partition's watermark on, the ``support``-th highest event time so far.

    Args:
        times: int64[N], of its next events in the order of the log, at least one; UNKNOWN for an
            event that does not support the watermark.
        highest: the highest times before, from the highest.
        support: how many of them are kept.

    Returns:
        int64[N], the watermark before each event, UNKNOWN where fewer have supported it; int64[N],
        that behind each event; the highest times behind all.
    """
    left = times.copy()
    # Before the first event, then behind each. Filled in place: new memory costs more than the sums.
    reached = np.empty(len(times) + 1, np.int64)
    kept: list[int] = []
    for rank in range(support):
        reached[0] = highest[rank] if rank < len(highest) else UNKNOWN
        reached[1:] = left
        np.maximum.accumulate(reached, out=reached)
        # An event that takes this rank moves the one that had it to the next.
        np.minimum(left, reached[:-1], out=left)
        kept.append(int(reached[-1]))
    return reached[:-1], reached[1:], tuple(time for time in kept if time != UNKNOWN)
