"""Stored histories and a micro-batch's own events, as one sorted run of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.history.keys import order_of
from features.history.layout import Layout, Members
from schemas.errors import ConfigurationError

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

STORED = -1
"""The row of a member that no event of the batch is."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Histories as they were read. members: all, end to end; owner: int64[M], of which history."""

    values: Sequence[bytes | None]
    members: Members
    owner: Longs


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """M members of U histories, end to end, each in member order: time, partition, offset.

    starts: int64[U + 1], where each history begins. owner: int64[M], the history of each member.
    row: int64[M], the event of the batch that it is, or STORED. columns: by field of the layout,
    [M]. place: int64[N], where each event of the batch stands.
    """

    starts: Longs
    owner: Longs
    row: Longs
    columns: Mapping[str, npt.NDArray[Any]]
    place: Longs

    @property
    def time(self) -> Longs:
        return self.columns["time"]


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
    return Stored(values, members, np.repeat(np.arange(len(values)), counts))


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


def merge(
    layout: Layout, stored: Stored, before: Mask | None, codes: Longs, new: Members
) -> Merged:
    """Histories of U keys with the batch's events among them.

    codes: int64[N], the history of each event; new: the events as members. Members that are stored
    twice are taken once.
    """
    histories = len(stored.values)
    members, owner = stored.members, stored.owner
    if before is not None:
        kept = np.flatnonzero(before)
        members, owner = members.take(kept), owner[kept]
    old_counts = np.bincount(owner, minlength=histories)
    new_counts = np.bincount(codes, minlength=histories)
    total = len(owner) + len(codes)
    order = order_of(codes, histories)
    new = new.take(order)
    place = np.arange(len(codes)) + np.cumsum(old_counts)[codes[order]]
    is_old = np.ones(total, np.bool_)
    is_old[place] = False
    old = np.flatnonzero(is_old)
    row = np.full(total, STORED)
    row[place] = order
    columns: dict[str, npt.NDArray[Any]] = {}
    for name in layout.dtype.names or ():
        column = np.empty(total, layout.dtype[name])
        column[old] = members[name]
        column[place] = new[name]
        columns[name] = column
    owners = np.repeat(np.arange(histories), old_counts + new_counts)
    owners, row = _in_member_order(owners, row, columns)
    starts = np.searchsorted(owners, np.arange(histories + 1))
    places = np.flatnonzero(row != STORED)
    found = np.empty(len(codes), np.int64)
    found[row[places]] = places
    return Merged(starts, owners, row, columns, found)


def _in_member_order(
    owner: Longs, row: Longs, columns: dict[str, npt.NDArray[Any]]
) -> tuple[Longs, Longs]:
    """Sorts the histories that are out of order, drops repeated members; changes ``columns``."""
    time, partition, offset = columns["time"], columns["partition"], columns["offset"]
    suspect = np.flatnonzero((time[1:] <= time[:-1]) & (owner[1:] == owner[:-1]))
    if not len(suspect):
        return owner, row
    one, next_ = suspect, suspect + 1
    tied = time[one] == time[next_]
    same = tied & (partition[one] == partition[next_])
    wrong = ~tied | (partition[one] > partition[next_]) | (same & (offset[one] >= offset[next_]))
    if not wrong.any():
        return owner, row
    unsorted = np.zeros(int(owner[-1]) + 1, np.bool_)
    unsorted[owner[one[wrong]]] = True
    places = np.flatnonzero(unsorted[owner])
    order = places[np.lexsort((offset[places], partition[places], time[places], owner[places]))]
    for column in (*columns.values(), row):
        column[places] = column[order]
    repeated = np.zeros(len(owner), np.bool_)
    repeated[1:] = (
        (owner[1:] == owner[:-1])
        & (time[1:] == time[:-1])
        & (partition[1:] == partition[:-1])
        & (offset[1:] == offset[:-1])
    )
    if not repeated.any():
        return owner, row
    for name, column in columns.items():
        columns[name] = column[~repeated]
    return owner[~repeated], row[~repeated]
