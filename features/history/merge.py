"""Stored histories and a micro-batch's own events, as one sorted run of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import ConfigurationError
from features.history.keys import cut
from features.history.layout import Members

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

STORED = -1
"""The row of a member that no event of the batch is."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Histories as they were read. members: all, end to end; owner: int64[M], of which history."""

    values: Sequence[bytes]
    members: Members
    owner: Longs


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """M members of U histories, end to end, each in member order: time, partition, offset.

    members: as the store holds them. starts: int64[U + 1], where each history begins. owner:
    int64[M], the history of each member. row: int64[M], the event of the batch that it is, or
    STORED. place: int64[N], where each event of the batch stands. added: the bytes of each history's
    own events of the batch.
    """

    members: Members
    starts: Longs
    owner: Longs
    row: Longs
    place: Longs
    added: Sequence[bytes]
    _columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict, init=False)

    def column(self, name: str) -> npt.NDArray[Any]:
        """[M], a field of the layout; laid out once, and only where somebody asks."""
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = np.ascontiguousarray(self.members[name])
        return found

    @property
    def time(self) -> Longs:
        return self.column("time")


def read_members(values: Sequence[bytes | None], dtype: np.dtype[np.void], what: str) -> Stored:
    """The members of U histories. Raises ConfigurationError where a value holds something else."""
    present = [value or b"" for value in values]
    sizes = np.fromiter(map(len, present), np.int64, len(values))
    counts, rest = np.divmod(sizes, dtype.itemsize)
    if rest.any():
        raise ConfigurationError(
            f"the online store holds {what} of {sizes[np.argmax(rest > 0)]} bytes, which are no "
            f"members of {dtype.itemsize} bytes: something else wrote there; use another store.state"
        )
    members = np.frombuffer(b"".join(present), dtype)
    return Stored(present, members, np.repeat(np.arange(len(values)), counts))


def before_batch(stored: Stored, first: Mapping[int, int]) -> Mask | None:
    """bool[M]: members of before the batch in its own partitions; None where all are.

    Others are of an attempt that was not committed, or of the future: they come again.
    first: the offset of the first event of each partition in the batch.
    """
    partitions, offsets = stored.members["partition"], stored.members["offset"]
    bounds = np.full(int(partitions.max(initial=0)) + 1, np.iinfo(np.int64).max)
    for partition, offset in first.items():
        if partition < len(bounds):
            bounds[partition] = offset
    before = offsets < (bounds[0] if len(bounds) == 1 else bounds[partitions])
    return None if before.all() else before


def merge(stored: Stored, before: Mask | None, codes: Longs, new: Members) -> Merged:
    """Histories of U keys with the batch's events among them.

    codes: int64[N], rising, the history of each event; new: the events as members, those of one
    history in the order of the log. Members that are stored twice are taken once.
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
    """Sorts the histories that are out of order, drops repeated members."""
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
    """bool[M]: which of the members, in their order, stand right before as well."""
    again = np.zeros(len(owner), np.bool_)
    again[1:] = owner[1:] == owner[:-1]
    for name in ("time", "partition", "offset"):
        again[1:] &= members[name][1:] == members[name][:-1]
    return again
