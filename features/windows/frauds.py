"""Labels of the members of histories, by the time at which each is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.history.merge import Merged, Stored
from features.windows.ids import among, having
from features.windows.ragged import Longs, Mask, Pairs, expand


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """L labels of members with at least one fraud label, in the order of the members' places.

    Attributes:
        item: int64[L], the member's place; the labels of one member are in the order in which a
            later one replaces an earlier one.
        label_time: int64[L], the time at which the label is known.
        event_time: int64[L], the event time in the label.
        fraud: bool[L].
        before: int64[M + 1], the number of labels of members before each place.
    """

    item: Longs
    label_time: Longs
    event_time: Longs
    fraud: Mask
    before: Longs

    def known(self, pairs: Pairs, time: Longs, after: Longs) -> Mask:
        """Mark the pairs (query, label) whose label is known at the query's ``time``.

        ``after`` bounds the event time of labels as of members: the result must not depend on
        older labels that the store may still hold.
        """
        known = self.label_time[pairs.item] <= time[pairs.query]
        return known & (self.event_time[pairs.item] > after[pairs.query])

    def frauds(self, pairs: Pairs) -> Pairs:
        """Pairs (query, member) for which the last label in ``pairs`` (query, label) is a fraud."""
        last = np.ones(len(pairs.query), np.bool_)
        item = self.item[pairs.item]
        last[:-1] = (pairs.query[1:] != pairs.query[:-1]) | (item[1:] != item[:-1])
        return Pairs(pairs.query, item).where(last & self.fraud[pairs.item])


def find_labels(labels: Stored, merged: Merged) -> Labels:
    """Assign stored labels, in any order, to the merged members of the same histories.

    Of several labels of one event the latest counts: by label time, then by position.
    """
    members, owner = labels.members, labels.owner
    about = members["event_id"].copy()
    # Events without any fraud label are left out.
    some = np.flatnonzero(among(about, np.sort(about[members["fraud"]])))
    some = some[np.argsort(about[some], kind="stable")]
    members, owner, about = members.take(some), owner[some], about[some]
    ids = merged.column("event_id")
    places = having(ids, about)
    pairs = expand(
        np.searchsorted(about, ids[places]), np.searchsorted(about, ids[places], "right")
    )
    item = places[pairs.query]
    own = np.flatnonzero(merged.owner[item] == owner[pairs.item])
    item, found = item[own], members.take(pairs.item[own])
    rank = np.lexsort(
        (found["fraud"], found["offset"], found["partition"], found["label_time"], item)
    )
    item, found = item[rank], found.take(rank)
    before = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(np.bincount(item, minlength=len(ids)), out=before[1:])
    return Labels(
        item, found["label_time"].copy(), found["time"].copy(), found["fraud"].copy(), before
    )
