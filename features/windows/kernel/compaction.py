"""Compaction of one history: the stored members or labels that a later event may reach."""

from __future__ import annotations

import numpy as np

from base.arrays import Bytes, Longs
from base.compiled import copy_bytes, inner, leaf, load32, load64
from features.windows.kernel import rows
from features.windows.kernel.columns import behind
from features.windows.kernel.members import comes_again
from features.windows.kernel.structs import NOWHERE, UNREACHED


@inner
def compact_members(
    data: Bytes,
    begin: int,
    end: int,
    size: int,
    first: Longs,
    own: int,
    oldest: Longs,
    cap: int,
    worth: int,
    members: Longs,
    count: int,
    out: Bytes,
    out_at: int,
) -> int:
    """Write the stored members that a later event may reach, each once, where enough of them go.

    Members that come again stay, whatever their time. Of more members than twice the cap the
    newest stay, and one more, to know that there are others.

    Args:
        data: Stored bytes.
        begin: Byte at which the history begins.
        end: Byte at which it ends.
        size: Bytes of a member.
        first: As in `Events`.
        own: Partition of the history's events, by whose watermark members of files go.
        oldest: As in `Stored`.
        cap: As in `CompiledWindows`.
        worth: As in `CompiledWindows`.
        members: The members from before the batch.
        count: Number of these.
        out: Bytes to fill.
        out_at: Place of the first of them.

    Returns:
        Number of bytes written, NOWHERE if the history stays as it is.
    """
    all_, newest, needed = (end - begin) // size, UNREACHED, count
    if all_ < worth:
        return NOWHERE
    for partition in range(len(oldest)):
        newest = max(newest, oldest[partition])
    for place in range(behind(members, rows.TIME, count, newest)):
        needed -= not _is_needed(
            oldest, members[rows.PARTITION, place], own, members[rows.TIME, place]
        )
    excess = needed - cap - 1 if needed > 2 * cap else 0
    if not _is_worth(all_, needed - excess, worth):
        return NOWHERE
    removed, staying = np.ones(all_, np.uint8), 0
    for place in range(count):
        if _is_needed(oldest, members[rows.PARTITION, place], own, members[rows.TIME, place]):
            if excess:
                excess -= 1
            else:
                removed[members[rows.SOURCE, place]] = 0
    for source in range(all_):
        at = begin + source * size
        if comes_again(first, load32(data, at), load64(data, at + rows.AT_OFFSET)):
            removed[source] = 0
        staying += removed[source] == 0
    if not _is_worth(all_, staying, worth):
        return NOWHERE
    return _copy_others(data, begin, size, removed, out, out_at)


@inner
def compact_shared(
    data: Bytes,
    begin: int,
    end: int,
    size: int,
    oldest: Longs,
    cap: int,
    worth: int,
    members: Longs,
    count: int,
    out: Bytes,
    out_at: int,
) -> int:
    """Write the stored members of a shared history that a later event of any partition may reach.

    Of the members before which no other will be inserted, and at which no later window ends, the
    newest ``cap`` may be seen; the ``cap`` before each of these decide if it is a repeat. Members
    ahead of the batch stay, as they are newer than all that go. Arguments are those of
    `compact_members`, of which ``members`` are all that are stored.

    Returns:
        Number of bytes written, NOWHERE if the history stays as it is.
    """
    all_ = (end - begin) // size
    gone = behind(members, rows.TIME, count, oldest[0])
    gone = max(gone, behind(members, rows.TIME, count, oldest[1]) - 2 * cap)
    if not _is_worth(all_, count - gone, worth):
        return NOWHERE
    removed = np.ones(all_, np.uint8)
    for place in range(gone, count):
        removed[members[rows.SOURCE, place]] = 0
    return _copy_others(data, begin, size, removed, out, out_at)


@leaf
def _is_worth(all_: int, staying: int, worth: int) -> bool:
    """True if enough of all items go: a compaction writes those that stay."""
    return all_ - staying >= max(staying, worth)


@leaf
def _is_needed(oldest: Longs, partition: int, own: int, time: int) -> bool:
    """True for a member that a later event may reach."""
    if partition < 0:
        partition = own
    return not 0 <= partition < len(oldest) or time > oldest[partition]


@inner
def compact_labels(
    data: Bytes, begin: int, end: int, oldest: int, worth: int, out: Bytes, out_at: int
) -> int:
    """Write the stored labels of events behind ``oldest``, where enough of the others go.

    Returns:
        Number of bytes written, NOWHERE if the labels stay as they are.
    """
    all_ = (end - begin) // rows.LABEL_SIZE
    if all_ < worth:
        return NOWHERE
    removed, staying = np.zeros(all_, np.uint8), all_
    for index in range(all_):
        if load64(data, begin + index * rows.LABEL_SIZE + rows.AT_TIME) <= oldest:
            removed[index] = 1
            staying -= 1
    if not _is_worth(all_, staying, worth):
        return NOWHERE
    return _copy_others(data, begin, rows.LABEL_SIZE, removed, out, out_at)


@leaf
def _copy_others(
    data: Bytes, begin: int, size: int, removed: Bytes, out: Bytes, out_at: int
) -> int:
    """Copy the items not removed to ``out``, from ``out_at`` on; return their number of bytes."""
    at = out_at
    for index in range(len(removed)):
        if not removed[index]:
            item = begin + index * size
            at = copy_bytes(data, item, item + size, out, at)
    return at - out_at
