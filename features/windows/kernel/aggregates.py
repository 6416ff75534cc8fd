"""Windows of one event: the members that each counts, and their aggregate."""

from __future__ import annotations

import numpy as np

from base.arrays import Floats, Longs
from base.compiled import leaf
from features.windows.kernel import rows
from features.windows.kernel.fraud_labels import count_frauds
from features.windows.kernel.frequencies import count_distinct, count_values, entropy, mode_share
from features.windows.kernel.numbers import decayed, extreme, percentile, std
from features.windows.kernel.spans import choose, earliest, latest, span
from features.windows.kernel.structs import NOWHERE

COUNT, SUM, MEAN, STD, MIN, MAX, LAST, DISTINCT, TIME_SINCE_LAST, FRAUD_SHARE = range(10)
FIRST, TIME_SINCE_FIRST, MODE_SHARE, ENTROPY, MEDIAN, PERCENTILE, DECAYED = range(10, 17)
"""Aggregates, in the order of `Aggregate`; then the count or sum with a half-life."""

SECOND = 1e6
"""Microseconds."""


@leaf
def compute_windows(
    windows: Longs,
    numbers: Floats,
    pairs: Longs,
    members: Longs,
    counts: Longs,
    sums: Longs,
    chosen: Longs,
    scratch: Longs,
    table: Longs,
    ends: Longs,
    labels: Longs,
    floor: int,
    count: int,
    place: int,
    base: int,
    duplicate: bool,
    values: Floats,
    column: int,
    begin: int,
    after: int,
) -> None:
    """Compute the windows [begin, after) of the event in the last column of ``members``.

    Args:
        windows: As in `CompiledWindows`, like ``numbers`` and ``pairs``.
        numbers: Likewise.
        pairs: Likewise.
        members: As in `History`, like the next six.
        counts: Likewise.
        sums: Likewise.
        chosen: Likewise.
        scratch: Likewise.
        table: Likewise.
        ends: Likewise.
        labels: Labels of the history.
        floor: Place of the first member that the cap shows.
        count: Number of members.
        place: Place of the event among them.
        base: As in `Events`.
        duplicate: True if the event counts itself in no window.
        values: float64[W, M] to fill.
        column: Column of ``values``.
        begin: Index of the first window.
        after: Index behind the last window.
    """
    event, of = members.shape[1] - 1, windows.shape[1]
    for window in range(begin, after):
        kind, pair = windows[rows.AGGREGATE, window], windows[rows.PAIR, window]
        value, where = pairs[rows.VALUE, pair], pairs[rows.FILTER, pair]
        first, end, own = span(
            windows, window, members, ends, floor, count, place, base, duplicate, value, where
        )
        number = counts[pair, end] - counts[pair, first]
        total = sums[pair, end] - sums[pair, first]
        if own != NOWHERE:
            number += 1
            if value != NOWHERE:
                total += members[value, event]
        if number == 0 or (kind == STD and number == 1):
            values[window, column] = numbers[rows.DEFAULT, window]
        else:
            values[window, column] = _aggregate(
                kind,
                members,
                chosen,
                first,
                end,
                own,
                value,
                where,
                number,
                total,
                numbers[rows.UNIT, window],
                numbers[rows.PARAMETER, window],
                labels,
                base - windows[rows.REACH, window],
                members[rows.TIME, event] - windows[rows.DELAY, window],
                scratch,
                table,
                column * of + window + 1,
            )


@leaf
def _aggregate(
    kind: int,
    members: Longs,
    chosen: Longs,
    first: int,
    end: int,
    own: int,
    value: int,
    where: int,
    number: int,
    total: int,
    unit: float,
    parameter: float,
    labels: Longs,
    after: int,
    until: int,
    scratch: Longs,
    table: Longs,
    ticket: int,
) -> float:
    """Aggregate at least one counted member; at least two for STD."""
    event = members.shape[1] - 1
    if kind == COUNT:
        return np.float64(number)
    if kind == SUM:
        return np.float64(total) / unit
    if kind == MEAN:
        return np.float64(total / (number * unit))
    if kind == FIRST:
        return members[value, earliest(members, first, end, own, value, where)] / unit
    if kind == LAST:
        return members[value, latest(members, first, end, own, value, where)] / unit
    if kind == TIME_SINCE_FIRST:
        column = earliest(members, first, end, own, value, where)
        return (members[rows.TIME, event] - members[rows.TIME, column]) / SECOND
    if kind == TIME_SINCE_LAST:
        column = latest(members, first, end, own, value, where)
        return (members[rows.TIME, event] - members[rows.TIME, column]) / SECOND
    if kind == FRAUD_SHARE and labels.shape[1] == 0:
        return 0.0
    choose(members, first, end, own, value, where, chosen)
    if kind == FRAUD_SHARE:
        return count_frauds(members, chosen, number, labels, after) / np.float64(number)
    if kind == STD:
        return std(members, chosen, number, value, total) / unit
    if kind in (MEDIAN, PERCENTILE):
        return percentile(members, chosen, number, value, parameter, scratch) / unit
    if kind == DECAYED:
        return decayed(members, chosen, number, value, parameter, until) / unit
    if kind in (MIN, MAX):
        return extreme(members, chosen, number, value, kind == MIN) / unit
    if kind == DISTINCT:
        return np.float64(count_distinct(members, chosen, number, value, table, ticket))
    distinct = count_values(members, chosen, number, value, table, ticket, scratch)
    if kind == MODE_SHARE:
        return mode_share(scratch, distinct, number)
    return entropy(scratch, distinct, number)
