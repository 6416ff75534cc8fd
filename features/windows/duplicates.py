"""Find duplicates: events whose id is already in their history."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from features.history.merge import STORED, Merged
from features.windows.ids import repeated
from features.windows.view import Events
from features.windows.window import HistoryRules

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def find_duplicates(
    merged: Merged, codes: Longs, events: Events, rules: HistoryRules
) -> tuple[Mask, Mask]:
    """Find duplicate events.

    Few events have an id that occurs elsewhere. These are judged one after the other in the order
    of the log, as the result for one depends on those before it.

    Returns:
        bool[N], the events that are duplicates; bool[M], the members that count for later events.
    """
    duplicate = np.zeros(len(codes), np.bool_)
    alive = np.ones(len(merged.row), np.bool_)
    alive[merged.place[events.late]] = False
    suspects = _suspects(merged, events, rules)
    if not len(suspects):
        return duplicate, alive
    named: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    in_batch: list[tuple[int, int, tuple[int, int]]] = []
    for place, row, owner, name in zip(
        suspects.tolist(),
        merged.row[suspects].tolist(),
        merged.owner[suspects].tolist(),
        merged.column("event_id")[suspects].tolist(),
        strict=True,
    ):
        key = (owner, name)
        if row == STORED:
            named[key].append(place)
        else:
            in_batch.append((row, place, key))
    for row, place, key in sorted(in_batch):
        oldest = events.base[row] - rules.duplicates
        if any(
            merged.time[other] > oldest and _within_cap(merged, alive, other, row, rules.cap)
            for other in named[key]
        ):
            duplicate[row] = True
            alive[place] = False
        elif not events.late[row]:
            named[key].append(place)
    return duplicate, alive


def _suspects(merged: Merged, events: Events, rules: HistoryRules) -> Longs:
    """Places of members with a repeated id: the batch's events, and those they may repeat."""
    recent = merged.time > events.base.min() - rules.duplicates
    places = np.flatnonzero(recent | (merged.row != STORED))
    return places[repeated(merged.column("event_id")[places])]


def _within_cap(merged: Merged, alive: Mask, place: int, row: int, cap: int) -> bool:
    """True if the member at ``place`` is among the newest ``cap`` that the event ``row`` sees."""
    end = int(merged.starts[merged.owner[place] + 1])
    if end - place <= cap:
        return True
    newer = alive[place + 1 : end] & (merged.row[place + 1 : end] < row)
    return int(np.count_nonzero(newer)) < cap
