"""Watermarks: progress of event time in a partition, robust against a few wild event times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]

UNKNOWN = np.iinfo(np.int64).min
"""Watermark of a partition with too few events, and time of an event that must not support it."""


def enough_to_begin(support: int) -> int:
    """Number of events that histories need before they reach back to the watermark behind these.

    The watermark is then at or above the median of their times: fewer than ``support`` wild times
    among them, too low or too high, do not move it.
    """
    return 2 * support - 1


def advance(
    times: Longs, highest: Sequence[int], support: int
) -> tuple[Longs, Longs, tuple[int, ...]]:
    """Advance a partition's watermark, the ``support``-th highest event time so far.

    Args:
        times: int64[N], times of the partition's next events in the order of the log, at least one;
            UNKNOWN for an event that does not support the watermark.
        highest: Highest times before, in descending order.
        support: Number of highest times that are kept.

    Returns:
        int64[N], the watermark before each event, UNKNOWN while fewer events have supported it;
        int64[N], the watermark behind each event; the highest times behind all events.
    """
    left = times.copy()
    # Before the first event, then behind each. Filled in place: allocation costs more than the
    # computation.
    reached = np.empty(len(times) + 1, np.int64)
    kept: list[int] = []
    for rank in range(support):
        reached[0] = highest[rank] if rank < len(highest) else UNKNOWN
        reached[1:] = left
        np.maximum.accumulate(reached, out=reached)
        # An event that takes this rank moves the previous one to the next rank.
        np.minimum(left, reached[:-1], out=left)
        kept.append(int(reached[-1]))
    return reached[:-1], reached[1:], tuple(time for time in kept if time != UNKNOWN)
