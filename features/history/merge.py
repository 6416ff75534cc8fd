"""Merge stored histories with a micro-batch's own events into sorted members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask
from base.errors import ConfigurationError
from features.history.layout import Members, cut

STORED = -1
"""Value in ``Merged.row`` for a member that is not an event of the batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Histories as they were read.

    Attributes:
        values: Bytes of each history.
        members: M members of all histories, concatenated.
        owner: int64[M], the history of each member.
    """

    values: Sequence[bytes]
    members: Members
    owner: Longs


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """M members of U histories, concatenated; each history is sorted by time, partition, offset.

    Attributes:
        members: Members as the store holds them.
        starts: int64[U + 1], the start of each history.
        owner: int64[M], the history of each member.
        row: int64[M], the row in the batch of a member that is one of its events, else STORED.
        place: int64[N], the index of each event of the batch in the members.
        added: Bytes of each history's own events of the batch.
    """

    members: Members
    starts: Longs
    owner: Longs
    row: Longs
    place: Longs
    added: Sequence[bytes]
    _columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict, init=False)

    def column(self, name: str) -> npt.NDArray[Any]:
        """The field ``name`` of the layout, [M]; made contiguous once, on the first call."""
        if name not in self._columns:
            self._columns[name] = np.ascontiguousarray(self.members[name])
        return self._columns[name]

    @property
    def time(self) -> Longs:
        return self.column("time")


def read_members(values: Sequence[bytes | None], dtype: np.dtype[np.void], what: str) -> Stored:
    """Decode the members of U histories.

    Args:
        values: Stored bytes of each history, None if there is none.
        dtype: Dtype of a member.
        what: Name of the values in messages.

    Returns:
        The histories.

    Raises:
        ConfigurationError: A value does not consist of members.
    """
    present = [value or b"" for value in values]
    sizes = np.fromiter(map(len, present), np.int64, len(values))
    counts, rest = np.divmod(sizes, dtype.itemsize)
    if rest.any():
        raise ConfigurationError(
            f"the online store holds {what} of {sizes[np.argmax(rest > 0)]} bytes, which is not a "
            f"multiple of a member's {dtype.itemsize} bytes: another program wrote there; use another "
            "store.state"
        )
    members = np.frombuffer(b"".join(present), dtype)
    return Stored(present, members, np.repeat(np.arange(len(values)), counts))


def before_batch(stored: Stored, first: Mapping[int, int]) -> Mask | None:
    """Select the members from before the batch in its own partitions.

    Other members are from an attempt that was not committed, or later in the log: they will be read
    again.

    Args:
        stored: M stored members.
        first: Offset of the batch's first event in each of its partitions.

    Returns:
        bool[M], or None if all members are from before the batch.
    """
    partitions, offsets = stored.members["partition"], stored.members["offset"]
    bounds = np.full(int(partitions.max(initial=0)) + 1, np.iinfo(np.int64).max)
    for partition, offset in first.items():
        if partition < len(bounds):
            bounds[partition] = offset
    before = offsets < (bounds[0] if len(bounds) == 1 else bounds[partitions])
    return None if before.all() else before


def merge(stored: Stored, before: Mask | None, codes: Longs, new: Members) -> Merged:
    """Merge the batch's events into the histories of U keys.

    A member that is stored twice is taken once.

    Args:
        stored: The histories as they were read.
        before: bool[M], the stored members to use; None for all.
        codes: int64[N], non-decreasing, the history of each event.
        new: The events as members, those of one history in the order of the log.

    Returns:
        The merged histories.
    """
    histories = len(stored.values)
    values, owner = stored.values, stored.owner
    if before is not None:
        kept = np.flatnonzero(before)
        owner = owner[kept]
        values = cut(stored.members.take(kept), np.bincount(owner, minlength=histories))
    old_counts = np.bincount(owner, minlength=histories)
    new_counts = np.bincount(codes, minlength=histories)
    runs = [b""] * (2 * histories)
    added = cut(new, new_counts)
    runs[::2], runs[1::2] = values, added
    members = np.frombuffer(b"".join(runs), new.dtype)
    row = np.full(len(members), STORED)
    row[np.arange(len(codes)) + np.cumsum(old_counts)[codes]] = np.arange(len(codes))
    owner = np.repeat(np.arange(histories), old_counts + new_counts)
    owner, row, members = _in_member_order(owner, row, members)
    places = np.flatnonzero(row != STORED)
    place = np.empty(len(codes), np.int64)
    place[row[places]] = places
    starts = np.searchsorted(owner, np.arange(histories + 1))
    return Merged(members, starts, owner, row, place, added)


def _in_member_order(owner: Longs, row: Longs, members: Members) -> tuple[Longs, Longs, Members]:
    """Sort the histories that are out of order, and drop repeated members."""
    time, partition, offset = members["time"], members["partition"], members["offset"]
    suspect = np.flatnonzero((time[1:] <= time[:-1]) & (owner[1:] == owner[:-1]))
    if not len(suspect):
        return owner, row, members
    one, next_ = suspect, suspect + 1
    tied = time[one] == time[next_]
    same = tied & (partition[one] == partition[next_])
    wrong = ~tied | (partition[one] > partition[next_]) | (same & (offset[one] >= offset[next_]))
    if not wrong.any():
        return owner, row, members
    unsorted = np.zeros(int(owner[-1]) + 1, np.bool_)
    unsorted[owner[one[wrong]]] = True
    places = np.flatnonzero(unsorted[owner])
    order = np.arange(len(owner))
    order[places] = places[
        np.lexsort((offset[places], partition[places], time[places], owner[places]))
    ]
    row, members = row[order], members.take(order)
    again = _repeated(owner, members)
    if not again.any():
        return owner, row, members
    once = np.flatnonzero(~again)
    return owner[once], row[once], members.take(once)


def _repeated(owner: Longs, members: Members) -> Mask:
    """Mark the sorted members that equal the member right before them, bool[M]."""
    again = np.zeros(len(owner), np.bool_)
    again[1:] = owner[1:] == owner[:-1]
    for name in ("time", "partition", "offset"):
        again[1:] &= members[name][1:] == members[name][:-1]
    return again
