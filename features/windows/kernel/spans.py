"""Members of one history that a window counts."""

from __future__ import annotations

from base.arrays import Longs
from base.compiled import leaf
from features.windows.kernel import rows
from features.windows.kernel.columns import behind
from features.windows.kernel.members import is_counted
from features.windows.kernel.structs import NOWHERE


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
def earliest(members: Longs, first: int, end: int, own: int, value: int, where: int) -> int:
    """Column of the first counted member in [first, end), or of the event itself before it."""
    for place in range(first, end):
        if place == own:
            break
        if is_counted(members, value, where, place):
            return place
    return members.shape[1] - 1


@leaf
def latest(members: Longs, first: int, end: int, own: int, value: int, where: int) -> int:
    """Column of the last counted member in [first, end), or of the event itself behind it."""
    for place in range(end - 1, first - 1, -1):
        if place < own:
            break
        if is_counted(members, value, where, place):
            return place
    return members.shape[1] - 1
