"""Members that each event of a micro-batch sees; all windows of an entity share them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.history.merge import STORED, Merged
from features.windows.ragged import Pairs, expand

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """A batch's events as one entity's windows see them, in the order of the batch.

    Attributes:
        time: int64[N], event times.
        base: int64[N], the event time, or for a late event the earliest time that would not have
            been late.
        late: bool[N].
    """

    time: Longs
    base: Longs
    late: Mask


@dataclass(frozen=True, slots=True, eq=False)
class VisibleMembers:
    """Merged histories and Q = N queries, one for each event, in the order of their places.

    Attributes:
        merged: M members.
        search: Search by event time.
        row: int64[Q], the event of each query.
        owner: int64[Q], its history.
        place: int64[Q], its place in the members.
        time: int64[Q], its event time.
        base: int64[Q], as in ``Events``.
        duplicate: bool[Q], True for a duplicate.
        alive: bool[M], True for a member that counts for later events.
        floor: int64[Q], the first member that the cap lets an event see.
        tie_end: int64[Q], the place behind the last member of the same time.
    """

    merged: Merged
    search: Search
    row: Longs
    owner: Longs
    place: Longs
    time: Longs
    base: Longs
    duplicate: Mask
    alive: Mask
    floor: Longs
    tie_end: Longs

    def seen(self, pairs: Pairs, of: Longs) -> Mask:
        """Mark the pairs (index into ``of``, member) whose member the query ``of[…]`` sees.

        An event sees the stored members and the batch's events before it.
        """
        return self.alive[pairs.item] & (self.merged.row[pairs.item] < self.row[of[pairs.query]])

    def later(self, first: Longs, end: Longs, of: Longs) -> Pairs:
        """The batch's own members within [first, end) that the queries ``of`` do not see."""
        low = np.searchsorted(self.place, first)
        high = np.searchsorted(self.place, end)
        pairs = expand(low, high)
        hidden = self.alive[self.place[pairs.item]] & (
            self.row[pairs.item] >= self.row[of[pairs.query]]
        )
        found = pairs.where(hidden)
        return Pairs(found.query, self.place[found.item])

    def disordered(self) -> Mask:
        """Mark queries that may not see all members before ``tie_end``, bool[Q]."""
        step = len(self.row)
        key = self.owner * step + self.row
        found: Mask = (np.maximum.accumulate(key) > key) | (self.tie_end > self.place + 1)
        return found

    def in_order(self) -> Mask:
        """Mark queries that see all members before their place, and none behind it, bool[Q]."""
        step = len(self.row)
        key = self.owner * step + self.row
        lowest = np.minimum.accumulate(key[::-1])[::-1]
        last = np.searchsorted(self.owner, self.owner, "right") - 1
        own_behind = last - np.arange(step)
        stored_behind = self.merged.starts[self.owner + 1] - 1 - self.place - own_behind
        found: Mask = ~self.disordered() & (lowest == key) & (stored_behind == 0)
        return found


class Search:
    """Search for places by event time within histories."""

    def __init__(self, merged: Merged) -> None:
        time = merged.time
        self._start = int(time.min())
        self._span = int(time.max()) - self._start + 2
        self._times: Longs | None = None
        if (len(merged.starts) + 1) * self._span >= 2**62:
            # The times span too much for one 64-bit key: ranks replace them.
            self._times, relative = np.unique(time, return_inverse=True)
            relative = relative + 1
            self._span = len(self._times) + 1
        else:
            relative = time - (self._start - 1)
        self._keys = merged.owner * self._span + relative

    def behind(self, owner: Longs, time: Longs) -> Longs:
        """Place behind the last member at or before ``time``, for each query in its history."""
        if self._times is None:
            relative = np.clip(time - (self._start - 1), 0, self._span - 1)
        else:
            relative = np.searchsorted(self._times, time, "right")
        return np.searchsorted(self._keys, owner * self._span + relative, "right")


def make_view(
    merged: Merged, codes: Longs, events: Events, duplicate: Mask, alive: Mask
) -> VisibleMembers:
    """Build the view of N events without the cap: ``floor`` is the start of each history."""
    place = np.flatnonzero(merged.row != STORED)
    row = merged.row[place]
    owner = codes[row]
    time = events.time[row]
    search = Search(merged)
    partitions = merged.column("partition")
    # In one partition, a member with the same time and a later place is later in the log.
    one_partition = not len(partitions) or (partitions == partitions[0]).all()
    tie_end = place + 1 if one_partition else search.behind(owner, time)
    return VisibleMembers(
        merged,
        search,
        row,
        owner,
        place,
        time,
        events.base[row],
        duplicate[row],
        alive,
        merged.starts[owner],
        tie_end,
    )
