"""Members that a file gave: each is hidden by the event of the log that it is a copy of.

A file may hold events that the log holds as well. Its member is a copy of an event of the log with
the same id that is less than `duplicates` later. An event does not see its own copies, and once it
has joined a history of one partition, no other event does. In a shared history the event is a
repeat of its copy.
"""

from __future__ import annotations

from base.arrays import Longs
from base.compiled import leaf
from features.windows.kernel import rows
from features.windows.kernel.columns import clear_table
from features.windows.kernel.members import copy, insert, place_of
from features.windows.kernel.structs import NOWHERE


@leaf
def is_any_of_file(members: Longs, count: int) -> bool:
    """True if a member is of a file: its partition is negative."""
    number = 0
    # Without a branch in the loop, so that it is vectorised.
    for place in range(count):
        number += members[rows.PARTITION, place] < 0
    return number > 0


@leaf
def hide_copies(members: Longs, count: int, event: int, duplicates: int) -> int:
    """Move the copies of an event behind the other members; return the number of those."""
    left, after = count, members[rows.TIME, event] - duplicates
    for place in range(count - 1, -1, -1):
        if members[rows.TIME, place] <= after:
            break
        if _is_copy(members, place, event, duplicates):
            left -= 1
            for row in range(members.shape[0]):
                value = members[row, place]
                for later in range(place, left):
                    members[row, later] = members[row, later + 1]
                members[row, left] = value
    return left


@leaf
def show_copies(members: Longs, count: int, total: int) -> None:
    """Put the members in [count, total) back to their places."""
    for hidden in range(count, total):
        insert(members, hidden, place_of(members, hidden, hidden), hidden)


@leaf
def leave_copies_out(members: Longs, count: int, duplicates: int, table: Longs) -> int:
    """Drop the copies of members; return the number that is left.

    Args:
        members: Members of the history; LABEL is not set yet.
        count: Number of members.
        duplicates: As in `CompiledWindows`.
        table: As in `History`.
    """
    size = clear_table(table, count)
    # From the last one on: the table has the next member of the log with each id.
    for place in range(count - 1, -1, -1):
        slot = members[rows.EVENT_ID, place] & (size - 1)
        while (
            table[0, slot] != NOWHERE
            and members[rows.EVENT_ID, table[0, slot]] != members[rows.EVENT_ID, place]
        ):
            slot = (slot + 1) & (size - 1)
        members[rows.LABEL, place] = 0
        if members[rows.PARTITION, place] >= 0:
            table[0, slot] = place
        elif table[0, slot] != NOWHERE and _is_copy(members, place, table[0, slot], duplicates):
            members[rows.LABEL, place] = 1
    left = 0
    for place in range(count):
        if not members[rows.LABEL, place]:
            copy(members, place, members, left)
            left += 1
    return left


@leaf
def has_id_of_log(members: Longs, first: int, end: int, event: int) -> bool:
    """True if a member of the log in [first, end) has the id of the event."""
    for place in range(first, end):
        if (
            members[rows.EVENT_ID, place] == members[rows.EVENT_ID, event]
            and members[rows.PARTITION, place] >= 0
        ):
            return True
    return False


@leaf
def _is_copy(members: Longs, place: int, event: int, duplicates: int) -> bool:
    if members[rows.PARTITION, place] >= 0:
        return False
    age = members[rows.TIME, event] - members[rows.TIME, place]
    same = members[rows.EVENT_ID, place] == members[rows.EVENT_ID, event]
    return same and 0 <= age < duplicates
