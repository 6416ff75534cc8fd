"""Pairs: the state of a partition's log at earlier offsets, from which a fill can begin.

A fill puts events into histories without scoring them. Lateness depends on all earlier events of
the partition. A pair says enough about them, so that a fill need not read the log from its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_PAIRS = 16
"""Maximum number of pairs of a partition. They are spaced by this share of the span, so that a fill
reads hardly more than it must."""


class Pair(NamedTuple):
    """State of a partition's log at an earlier offset.

    Attributes:
        offset: Offset of an event.
        highest: Highest event times before it, in descending order, as in `LogState.highest`; not
            empty.
        latest: Latest event time before it. It is above ``highest[0]`` if that event was early for
            its record.
    """

    offset: int
    highest: tuple[int, ...]
    latest: int


def is_due(pairs: Sequence[Pair], watermark: int, span: int) -> bool:
    """Return True if a new pair follows, at this watermark.

    Args:
        pairs: Pairs so far.
        watermark: Watermark at the offset, in microseconds.
        span: Longest distance back that an event may need, in microseconds.
    """
    return not pairs or watermark - pairs[-1].highest[-1] >= span // MAX_PAIRS


def replay_from(pairs: Sequence[Pair], needed_time: int) -> Pair | None:
    """Find the last pair with no event before it that is later than ``needed_time``.

    A wild event of the future hides the pairs behind it: an older one serves.

    Returns:
        The pair; None if the log must be read from its start.
    """
    return next((pair for pair in reversed(pairs) if pair.latest <= needed_time), None)


def add_pair(pairs: Sequence[Pair], pair: Pair, needed_time: int) -> tuple[Pair, ...]:
    """Add a pair; of more than MAX_PAIRS, those that no fill needs go first.

    Args:
        pairs: Pairs so far, at most MAX_PAIRS.
        pair: The next one.
        needed_time: Event time from which on members are needed now, in microseconds.
    """
    added = (*pairs, pair)
    if len(added) <= MAX_PAIRS:
        return added
    serving = replay_from(added, needed_time)
    begin = 0 if serving is None else added.index(serving)
    return added[begin:] if begin else thinned(added)


def thinned(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Drop the pair whose neighbours are closest to each other; of one or two, the first.

    The first and the last stay, so that pairs never crowd at one end.
    """
    if len(pairs) <= 2:
        return pairs[1:]
    gaps = [
        after.highest[-1] - before.highest[-1]
        for before, after in zip(pairs, pairs[2:], strict=False)
    ]
    place = gaps.index(min(gaps)) + 1
    return pairs[:place] + pairs[place + 1 :]
