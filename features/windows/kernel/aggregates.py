"""Windows of one event: the members that each counts, and their aggregate."""

from __future__ import annotations

import numpy as np

from base.arrays import Floats, Longs
from base.compiled import leaf
from features.windows.kernel import rows
from features.windows.kernel.columns import behind
from features.windows.kernel.fraud_labels import is_fraud
from features.windows.kernel.members import is_counted
from features.windows.kernel.structs import NOWHERE

COUNT, SUM, MEAN, STD, MIN, MAX, LAST, DISTINCT, TIME_SINCE_LAST, FRAUD_SHARE = range(10)
"""Aggregates, in the order of `Aggregate`."""

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
        members: As in `History`, like ``counts``, ``sums``, ``chosen``, ``table`` and ``ends``.
        counts: Likewise.
        sums: Likewise.
        chosen: Likewise.
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
        value, where = pairs[rows.VALUE, pair], pairs[rows.WHERE, pair]
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
                labels,
                base - windows[rows.REACH, window],
                table,
                column * of + window + 1,
            )


@leaf
def span(
    windows: Longs,
    window: int,
    members: Longs,
    ends: Longs,
    floor: int,
    count: int,
    place: int,
    base: int,
    duplicate: bool,
    value: int,
    where: int,
) -> tuple[int, int, int]:
    """Find the places [first, end) within a window.

    Windows that begin or end at the same time are often neighbours: ``ends`` has the places of the
    window before.

    Returns:
        ``first``; ``end``; the place of the event itself within [first, end], or NOWHERE if it
        does not count itself.
    """
    event = members.shape[1] - 1
    reach, delay = windows[rows.REACH, window], windows[rows.DELAY, window]
    if window == 0 or reach != windows[rows.REACH, window - 1]:
        ends[0] = behind(members, rows.TIME, count, base - reach)
    if window == 0 or delay != windows[rows.DELAY, window - 1]:
        ends[1] = behind(members, rows.TIME, count, members[rows.TIME, event] - delay)
    first = max(floor, ends[0])
    end = max(first, ends[1])
    if windows[rows.CURRENT, window] and not duplicate and is_counted(members, value, where, event):
        return first, end, min(max(place, first), end)
    return first, end, NOWHERE


@leaf
def first_shown(members: Longs, count: int, until: int, cap: int) -> int:
    """Place of the first of the newest ``cap`` members whose time is at most ``until``."""
    if count <= cap:
        return 0
    return max(0, behind(members, rows.TIME, count, until) - cap)


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
    labels: Longs,
    after: int,
    table: Longs,
    ticket: int,
) -> float:
    """Aggregate at least one counted member; at least two for STD."""
    if kind == COUNT:
        return np.float64(number)
    if kind == SUM:
        return np.float64(total) / unit
    if kind == MEAN:
        return np.float64(total / (number * unit))
    if kind == LAST:
        return members[value, _latest(members, first, end, own, value, where)] / unit
    event = members.shape[1] - 1
    if kind == TIME_SINCE_LAST:
        latest = _latest(members, first, end, own, value, where)
        return (members[rows.TIME, event] - members[rows.TIME, latest]) / SECOND
    if kind == FRAUD_SHARE and labels.shape[1] == 0:
        return 0.0
    choose(members, first, end, own, value, where, chosen)
    if kind == FRAUD_SHARE:
        return _frauds(members, chosen, number, labels, after) / np.float64(number)
    if kind == STD:
        return _std(members, chosen, number, value, total) / unit
    if kind == DISTINCT:
        return _distinct(members, chosen, number, value, table, ticket) / unit
    return _extreme(members, chosen, number, value, kind == MIN) / unit


@leaf
def choose(
    members: Longs, first: int, end: int, own: int, value: int, where: int, chosen: Longs
) -> int:
    """List the counted members in [first, end) and the event itself, in member order.

    Returns:
        The number of columns in ``chosen``.
    """
    number = 0
    for place in range(first, end + 1):
        if place == own:
            chosen[number] = members.shape[1] - 1
            number += 1
        if place < end and is_counted(members, value, where, place):
            chosen[number] = place
            number += 1
    return number


@leaf
def _latest(members: Longs, first: int, end: int, own: int, value: int, where: int) -> int:
    """Column of the last counted member in [first, end), or of the event itself behind it."""
    for place in range(end - 1, first - 1, -1):
        if place < own:
            break
        if is_counted(members, value, where, place):
            return place
    if own == NOWHERE:
        return NOWHERE
    return members.shape[1] - 1


@leaf
def _std(members: Longs, chosen: Longs, number: int, value: int, total: int) -> float:
    """Sample standard deviation (n - 1); squares are added in member order."""
    mean, squares = np.float64(total) / np.float64(number), 0.0
    for index in range(number):
        apart = np.float64(members[value, chosen[index]]) - mean
        squares += apart * apart
    return np.sqrt(squares / np.float64(number - 1))


@leaf
def _extreme(members: Longs, chosen: Longs, number: int, value: int, least: bool) -> int:
    """The smallest or the largest value."""
    extreme = members[value, chosen[0]]
    for index in range(1, number):
        other = members[value, chosen[index]]
        if (other < extreme) if least else (other > extreme):
            extreme = other
    return extreme


@leaf
def _distinct(
    members: Longs, chosen: Longs, number: int, value: int, table: Longs, ticket: int
) -> int:
    """Number of distinct values, by a hash table; slots that do not hold ``ticket`` are free."""
    mask, distinct = table.shape[1] - 1, 0
    for index in range(number):
        kept = members[value, chosen[index]]
        slot = (kept ^ (kept >> 9) ^ (kept >> 21) ^ (kept >> 42)) & mask
        while table[1, slot] == ticket and table[0, slot] != kept:
            slot = (slot + 1) & mask
        if table[1, slot] != ticket:
            table[0, slot], table[1, slot] = kept, ticket
            distinct += 1
    return distinct


@leaf
def _frauds(members: Longs, chosen: Longs, number: int, labels: Longs, after: int) -> int:
    """Number of known frauds."""
    time, frauds = members[rows.TIME, members.shape[1] - 1], 0
    for index in range(number):
        label = members[rows.LABEL, chosen[index]]
        if label != NOWHERE:
            frauds += is_fraud(labels, label, time, after)
    return frauds
