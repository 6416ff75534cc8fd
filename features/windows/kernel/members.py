"""Members of one history: read from stored bytes, inserted in order, written, and summed."""

from __future__ import annotations

from base.arrays import Bytes, Longs
from base.compiled import inner, leaf, load32, load64, store32, store64
from features.windows.kernel import rows
from features.windows.kernel.columns import before, sort
from features.windows.kernel.structs import MISSING, NOWHERE, UNREACHED


@inner
def read(
    data: Bytes, begin: int, end: int, size: int, columns: Longs, first: Longs, members: Longs
) -> int:
    """Read the members from before the batch, each once, in order; return their number.

    Args:
        data: Stored bytes.
        begin: Byte at which the history begins.
        end: Byte at which it ends, a whole number of members later.
        size: Bytes of a member.
        columns: As in `CompiledWindows`.
        first: As in `Events`.
        members: Columns to fill.
    """
    count, in_order, last = 0, True, UNREACHED
    for source in range((end - begin) // size):
        at = begin + source * size
        partition, offset = load32(data, at), load64(data, at + rows.AT_OFFSET)
        if comes_again(first, partition, offset):
            continue
        time = load64(data, at + rows.AT_TIME)
        members[rows.TIME, count] = time
        members[rows.PARTITION, count] = partition
        members[rows.OFFSET, count] = offset
        members[rows.EVENT_ID, count] = load64(data, at + rows.AT_EVENT_ID)
        members[rows.SOURCE, count] = source
        for column in range(columns.shape[1]):
            position = at + columns[rows.POSITION, column]
            if columns[rows.IS_CONDITION, column]:
                members[rows.KEPT + column, count] = data[position]
            else:
                members[rows.KEPT + column, count] = load64(data, position)
        # Most members are later than the one before.
        if count and time <= last and not before(members, rows.MEMBER_KEYS, count - 1, count):
            in_order = False
        last = time
        count += 1
    return count if in_order else _sort_once(members, count)


@leaf
def comes_again(first: Longs, partition: int, offset: int) -> bool:
    """True for a member that is in the batch or behind it in the log."""
    return 0 <= partition < len(first) and offset >= first[partition]


@inner
def _sort_once(members: Longs, count: int) -> int:
    """Sort members and drop repeated ones; return the number that is left."""
    sort(members, rows.MEMBER_KEYS, count)
    left = 0
    for place in range(count):
        if left and not before(members, rows.MEMBER_KEYS, left - 1, place):
            continue
        copy(members, place, members, left)
        left += 1
    return left


@leaf
def copy(source: Longs, from_: int, target: Longs, to: int) -> None:
    """Copy a column."""
    for row in range(source.shape[0]):
        target[row, to] = source[row, from_]


@leaf
def place_of(members: Longs, count: int, event: int) -> int:
    """Place of an event among the first ``count`` members."""
    place = count
    while place and before(members, rows.MEMBER_KEYS, event, place - 1):
        place -= 1
    return place


@leaf
def insert(members: Longs, count: int, place: int, event: int) -> None:
    """Insert an event at ``place`` of ``count`` members."""
    for row in range(members.shape[0]):
        value = members[row, event]
        for later in range(count, place, -1):
            members[row, later] = members[row, later - 1]
        members[row, place] = value


@leaf
def write(members: Longs, event: int, columns: Longs, data: Bytes, at: int) -> None:
    """Write an event as a stored member."""
    store32(data, at, members[rows.PARTITION, event])
    store64(data, at + rows.AT_OFFSET, members[rows.OFFSET, event])
    store64(data, at + rows.AT_TIME, members[rows.TIME, event])
    store64(data, at + rows.AT_EVENT_ID, members[rows.EVENT_ID, event])
    for column in range(columns.shape[1]):
        position, value = at + columns[rows.POSITION, column], members[rows.KEPT + column, event]
        if columns[rows.IS_CONDITION, column]:
            data[position] = 1 if value else 0
        else:
            store64(data, position, value)


@leaf
def add_up(members: Longs, counts: Longs, sums: Longs, pairs: Longs, begin: int, end: int) -> None:
    """Renew the counts and sums behind the places [begin, end), of pairs without `same`."""
    for pair in range(pairs.shape[1]):
        if pairs[rows.SAME, pair] == NOWHERE:
            _add_up(members, counts, sums, pairs, pair, begin, end)


@leaf
def _add_up(
    members: Longs, counts: Longs, sums: Longs, pairs: Longs, pair: int, begin: int, end: int
) -> None:
    value, where = pairs[rows.VALUE, pair], pairs[rows.FILTER, pair]
    count, total = counts[pair, begin], sums[pair, begin]
    for place in range(begin, end):
        if is_counted(members, value, where, place):
            count += 1
            if value >= 0:
                total += members[value, place]
        counts[pair, place + 1] = count
        sums[pair, place + 1] = total


@leaf
def keep_same(
    members: Longs, counts: Longs, sums: Longs, pairs: Longs, count: int, event: int
) -> None:
    """Filter the members and the event by the event's own value of a column, and add up."""
    for pair in range(pairs.shape[1]):
        same, where = pairs[rows.SAME, pair], pairs[rows.WHERE, pair]
        if same != NOWHERE:
            own, kept = members[same, event], pairs[rows.FILTER, pair]
            for place in range(count):
                equal = members[same, place] == own and own != MISSING
                members[kept, place] = equal and is_counted(members, NOWHERE, where, place)
            equal = own != MISSING
            members[kept, event] = equal and is_counted(members, NOWHERE, where, event)
            _add_up(members, counts, sums, pairs, pair, 0, count)


@leaf
def is_counted(members: Longs, value: int, where: int, place: int) -> bool:
    """True for a member that passes the filter and has the value."""
    if where >= 0 and members[where, place] == 0:
        return False
    return value < 0 or members[value, place] != MISSING


@leaf
def has_id(members: Longs, first: int, end: int, event: int) -> bool:
    """True if a member in [first, end) has the id of the event."""
    ident, hits = members[rows.EVENT_ID, event], 0
    # Without a branch in the loop, so that it is vectorised.
    for place in range(first, end):
        hits += members[rows.EVENT_ID, place] == ident
    return hits > 0
