"""Compaction of one history: the stored members or labels that a later event may reach."""

from __future__ import annotations

import numpy as np

from base.arrays import Bytes, Longs
from base.compiled import inner, load64
from features.windows.kernel import rows
from features.windows.kernel.structs import NOWHERE


@inner
def compact_members(
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
) -> int:
    """Write the stored members that a later event may reach, where enough of them go.

    Members that may come again stay, whatever their time. Of more members than twice the cap the
    newest stay, and one more, to know that there are others.

    Args:
        data: Stored bytes.
        begin: Byte at which the history begins.
        end: Byte at which it ends.
        size: Bytes of a member.
        oldest: As in `Stored`.
        cap: As in `CompiledWindows`.
        worth: As in `CompiledWindows`.
        members: The members from before the batch.
        count: Number of these.
        out: Bytes to fill from ``begin`` on.

    Returns:
        Number of bytes written, NOWHERE if the history stays as it is.
    """
    all_ = (end - begin) // size
    if all_ < worth:
        return NOWHERE
    needed = 0
    for place in range(count):
        needed += _is_needed(oldest, members[rows.PARTITION, place], members[rows.TIME, place])
    excess = needed - cap - 1 if needed > 2 * cap else 0
    # Members that come again, and repeated ones, are not among ``count``; most histories have none.
    gone = count - needed + excess
    if gone < max(all_ - gone, worth):
        return NOWHERE
    removed = np.zeros(all_, np.uint8)
    for place in range(count):
        if not _is_needed(oldest, members[rows.PARTITION, place], members[rows.TIME, place]):
            removed[members[rows.SOURCE, place]] = 1
        elif excess:
            removed[members[rows.SOURCE, place]] = 1
            excess -= 1
    return _copy_others(data, begin, size, removed, out)


@inner
def _is_needed(oldest: Longs, partition: int, time: int) -> bool:
    """True for a member that a later event may reach."""
    return not 0 <= partition < len(oldest) or time > oldest[partition]


@inner
def compact_labels(data: Bytes, begin: int, end: int, oldest: int, worth: int, out: Bytes) -> int:
    """Write the stored labels of events behind ``oldest``, where enough of the others go.

    Returns:
        Number of bytes written, NOWHERE if the labels stay as they are.
    """
    all_ = (end - begin) // rows.LABEL_SIZE
    if all_ < worth:
        return NOWHERE
    removed, gone = np.zeros(all_, np.uint8), 0
    for index in range(all_):
        if load64(data, begin + index * rows.LABEL_SIZE + rows.AT_TIME) <= oldest:
            removed[index] = 1
            gone += 1
    if gone < max(all_ - gone, worth):
        return NOWHERE
    return _copy_others(data, begin, rows.LABEL_SIZE, removed, out)


@inner
def _copy_others(data: Bytes, begin: int, size: int, removed: Bytes, out: Bytes) -> int:
    """Copy the items not removed to ``out``, from ``begin`` on; return their number of bytes."""
    at = begin
    for index in range(len(removed)):
        if not removed[index]:
            for byte in range(begin + index * size, begin + (index + 1) * size):
                out[at] = data[byte]
                at += 1
    return at - begin
