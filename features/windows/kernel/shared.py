"""Members of histories that several partitions share: their visibility, and repeated event ids.

A repeat is a member with an earlier member of the same event id before it, in member order, that is
less than `duplicates` older and among the `cap` members before it. It counts in no window. So it
depends on the members before it alone, not on the order in which they came.
"""

from __future__ import annotations

from base.arrays import Longs
from base.compiled import leaf
from features.windows.kernel import rows
from features.windows.kernel.aggregates import first_shown
from features.windows.kernel.members import comes_again, copy, has_id
from features.windows.kernel.structs import NOWHERE


@leaf
def is_any_ahead(members: Longs, count: int, first: Longs) -> bool:
    """True if a member is in the batch or behind it in the log."""
    for place in range(count):
        if comes_again(first, members[rows.PARTITION, place], members[rows.OFFSET, place]):
            return True
    return False


@leaf
def copy_visible(source: Longs, count: int, event: int, target: Longs) -> int:
    """Copy the members that the event in column ``event`` of ``target`` sees; return their number.

    It sees all but those of its own partition that do not stand before it.
    """
    partition, offset, number = target[rows.PARTITION, event], target[rows.OFFSET, event], 0
    for place in range(count):
        if source[rows.PARTITION, place] != partition or source[rows.OFFSET, place] < offset:
            copy(source, place, target, number)
            number += 1
    return number


@leaf
def find_repeats(
    members: Longs, count: int, filters: Longs, duplicates: int, cap: int, slots: Longs
) -> None:
    """Find the latest earlier member with the same id for each member, and mark the repeats."""
    size, row = 2, members.shape[0] - len(filters) - 1
    while size < 2 * count:
        size *= 2
    for slot in range(size):
        slots[slot] = NOWHERE
    # Most ids are of one member. Their rows are filled at once.
    for place in range(count):
        members[row, place] = NOWHERE
    for index in range(len(filters)):
        for place in range(count):
            members[row + 1 + index, place] = 1
            if filters[index] != NOWHERE:
                members[row + 1 + index, place] = members[filters[index], place]
    for place in range(count):
        ident = members[rows.EVENT_ID, place]
        slot = ident & (size - 1)
        while slots[slot] != NOWHERE:
            if members[rows.EVENT_ID, slots[slot]] == ident:
                members[row, place] = slots[slot]
                if _is_repeat(members, row, place, duplicates, cap):
                    mark(members, place, filters, True)
                break
            slot = (slot + 1) & (size - 1)
        slots[slot] = place


@leaf
def _is_repeat(members: Longs, row: int, place: int, duplicates: int, cap: int) -> bool:
    before = members[row, place]
    if before == NOWHERE or place - before > cap:
        return False
    return members[rows.TIME, place] - members[rows.TIME, before] < duplicates


@leaf
def mark(members: Longs, column: int, filters: Longs, repeat: bool) -> None:
    """Set the filters of a member, 0 for a repeat."""
    row = members.shape[0] - len(filters)
    for index in range(len(filters)):
        where = filters[index]
        if repeat:
            members[row + index, column] = 0
        else:
            members[row + index, column] = 1 if where == NOWHERE else members[where, column]


@leaf
def find_id(
    members: Longs, oldest: int, count: int, place: int, event: int, filters: Longs, cap: int
) -> bool:
    """Look for the id of an event, note the latest earlier member that has it, and mark the event.

    Args:
        members: Members of the history.
        oldest: Place of the first member that is looked at.
        count: Number of members.
        place: Place of the event among them.
        event: Column of the event.
        filters: As in `CompiledWindows`.
        cap: As in `CompiledWindows`.

    Returns:
        True if a member of the event's own partition has its id.
    """
    before, found = NOWHERE, False
    if has_id(members, oldest, count, event):
        for other in range(oldest, count):
            if members[rows.EVENT_ID, other] == members[rows.EVENT_ID, event]:
                found |= members[rows.PARTITION, other] == members[rows.PARTITION, event]
                if place - cap <= other < place:
                    before = other
    members[members.shape[0] - len(filters) - 1, event] = before
    mark(members, event, filters, before != NOWHERE)
    return found


@leaf
def mark_behind(
    members: Longs, count: int, place: int, filters: Longs, duplicates: int, cap: int
) -> None:
    """Mark the members behind one that was inserted at ``place``."""
    row, ident, noted = (
        members.shape[0] - len(filters) - 1,
        members[rows.EVENT_ID, place],
        False,
    )
    for later in range(place + 1, count):
        if members[row, later] >= place:
            members[row, later] += 1
        elif not noted and members[rows.EVENT_ID, later] == ident:
            members[row, later] = place
            noted = True
        mark(members, later, filters, _is_repeat(members, row, later, duplicates, cap))


@leaf
def hides(windows: Longs, members: Longs, count: int, base: int, cap: int) -> bool:
    """True if the cap hides a member that a window reaches back to."""
    if count <= cap:
        return False
    for window in range(windows.shape[1]):
        first = first_shown(members, count, base - windows[rows.DELAY, window], cap)
        after = base - windows[rows.REACH, window]
        if first and members[rows.TIME, first - 1] > after:
            return True
    return False
