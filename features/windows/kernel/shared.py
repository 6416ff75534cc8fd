"""Members of histories that several partitions share: their visibility, and repeated event ids.

A repeat is a member with an earlier member of the same event id before it, in member order, that is
less than `duplicates` older and among the `cap` members before it. It counts in no window. So it
depends on the members before it alone, not on the order in which they came.
"""

from __future__ import annotations

from base.arrays import Longs
from base.compiled import leaf
from features.windows.kernel import rows
from features.windows.kernel.columns import before, behind, clear_table
from features.windows.kernel.members import comes_again, copy, has_id, insert, place_of
from features.windows.kernel.spans import first_shown
from features.windows.kernel.structs import NOWHERE


@leaf
def is_any_ahead(members: Longs, count: int, first: Longs) -> bool:
    """True if a member is in the batch or behind it in the log."""
    for place in range(count):
        if comes_again(first, members[rows.PARTITION, place], members[rows.OFFSET, place]):
            return True
    return False


@leaf
def copy_visible(source: Longs, count: int, partition: int, offset: int, target: Longs) -> int:
    """Copy the members that an event sees; return their number.

    It sees all but those of its own partition that do not stand before it.

    Args:
        source: Members.
        count: Number of members.
        partition: Partition of the event; NO_PARTITION to copy all members.
        offset: Offset of the event.
        target: Columns to fill.
    """
    number = 0
    for place in range(count):
        if source[rows.PARTITION, place] != partition or source[rows.OFFSET, place] < offset:
            copy(source, place, target, number)
            number += 1
    return number


@leaf
def insert_new(target: Longs, count: int, source: Longs, event: int) -> bool:
    """Insert an event into ``count`` members of ``target``; False if it is among them already."""
    copy(source, event, target, event)
    place = place_of(target, count, event)
    if place and not before(target, rows.MEMBER_KEYS, place - 1, event):
        return False
    insert(target, count, place, event)
    return True


@leaf
def find_repeats(
    members: Longs,
    count: int,
    pairs: Longs,
    earlier: int,
    duplicates: int,
    cap: int,
    table: Longs,
) -> None:
    """Find the latest earlier member with the same id for each member, and leave repeats out.

    Args:
        members: Members of the history.
        count: Number of members.
        pairs: As in `CompiledWindows`.
        earlier: Row of the place of the latest earlier member.
        duplicates: As in `CompiledWindows`.
        cap: Likewise.
        table: As in `History`.
    """
    size = clear_table(table, count)
    # Most ids are of one member. Their rows are filled at once.
    for place in range(count):
        members[earlier, place] = NOWHERE
    for pair in range(pairs.shape[1]):
        where, stored = pairs[rows.WHERE, pair], pairs[rows.STORED_WHERE, pair]
        for place in range(count):
            members[where, place] = 1 if stored == NOWHERE else members[stored, place]
    for place in range(count):
        slot = members[rows.EVENT_ID, place] & (size - 1)
        while table[0, slot] != NOWHERE:
            other = table[0, slot]
            if members[rows.EVENT_ID, other] == members[rows.EVENT_ID, place]:
                members[earlier, place] = other
                if _is_repeat(members, earlier, place, duplicates, cap):
                    _mark(members, place, pairs, repeat=True)
                break
            slot = (slot + 1) & (size - 1)
        table[0, slot] = place


@leaf
def _is_repeat(members: Longs, earlier: int, place: int, duplicates: int, cap: int) -> bool:
    other = members[earlier, place]
    if other == NOWHERE or place - other > cap:
        return False
    return members[rows.TIME, place] - members[rows.TIME, other] < duplicates


@leaf
def _mark(members: Longs, column: int, pairs: Longs, repeat: bool) -> None:
    """Set the filters of a member, 0 for a repeat."""
    for pair in range(pairs.shape[1]):
        where, stored = pairs[rows.WHERE, pair], pairs[rows.STORED_WHERE, pair]
        if repeat:
            members[where, column] = 0
        else:
            members[where, column] = 1 if stored == NOWHERE else members[stored, column]


@leaf
def find_id(
    members: Longs,
    count: int,
    place: int,
    base: int,
    delay: int,
    duplicates: int,
    cap: int,
    pairs: Longs,
    earlier: int,
) -> bool:
    """Look for the id of the event in the last column, and set its filters.

    Args:
        members: Members of the history.
        count: Number of members.
        place: Place of the event among them.
        base: As in `Events`.
        delay: As in `CompiledWindows`.
        duplicates: Likewise.
        cap: Likewise.
        pairs: Likewise.
        earlier: As in `find_repeats`.

    Returns:
        True if a member of the event's own partition has its id.
    """
    event, latest, found = members.shape[1] - 1, NOWHERE, False
    oldest = max(
        first_shown(members, count, base - delay, cap),
        behind(members, rows.TIME, count, base - duplicates),
    )
    if has_id(members, oldest, count, event):
        for other in range(oldest, count):
            if members[rows.EVENT_ID, other] == members[rows.EVENT_ID, event]:
                found |= members[rows.PARTITION, other] == members[rows.PARTITION, event]
                if place - cap <= other < place:
                    latest = other
    members[earlier, event] = latest
    _mark(members, event, pairs, latest != NOWHERE)
    return found


@leaf
def mark_behind(
    members: Longs,
    count: int,
    place: int,
    pairs: Longs,
    earlier: int,
    duplicates: int,
    cap: int,
) -> None:
    """Set the filters of the members behind one that was inserted at ``place``."""
    noted = False
    for later in range(place + 1, count):
        if members[earlier, later] >= place:
            members[earlier, later] += 1
        elif not noted and members[rows.EVENT_ID, later] == members[rows.EVENT_ID, place]:
            members[earlier, later] = place
            noted = True
        _mark(members, later, pairs, _is_repeat(members, earlier, later, duplicates, cap))


@leaf
def behind_delay(windows: Longs, first: int) -> int:
    """Index behind the windows from ``first`` on that have the same delay."""
    window = first
    while window < windows.shape[1] and windows[rows.DELAY, window] == windows[rows.DELAY, first]:
        window += 1
    return window


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
