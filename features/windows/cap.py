"""Cap on the number of members that an event sees: the newest only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.windows.view import VisibleMembers

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NONE = -1


def apply_cap(view: VisibleMembers, cap: int, horizon: int) -> tuple[VisibleMembers, Mask]:
    """Apply the cap to a view.

    Args:
        view: The view, without a cap.
        cap: Maximum number of members that an event sees.
        horizon: Distance back from an event, in microseconds, that its windows and the search for
            duplicates use.

    Returns:
        The view with its floors; bool[Q], True where the cap hides a member within the horizon.
    """
    merged = view.merged
    hides = np.zeros(len(view.row), np.bool_)
    large = np.flatnonzero(np.diff(merged.starts)[view.owner] > cap)
    if not len(large):
        return view, hides
    hidden = np.full(len(large), NONE)
    simple = view.in_order()[large]
    hidden[simple] = _newest_hidden(view, large[simple], cap)
    for index in np.flatnonzero(~simple).tolist():
        hidden[index] = _newest_hidden_of(view, int(large[index]), cap)
    some = hidden != NONE
    large, hidden = large[some], hidden[some]
    floor = view.floor.copy()
    floor[large] = hidden + 1
    hides[large] = merged.time[hidden] > view.base[large] - horizon
    return replace(view, floor=floor), hides


def _newest_hidden(view: VisibleMembers, queries: Longs, cap: int) -> Longs:
    """Place of the newest member hidden by the cap, or NONE, for queries in order.

    A query is in order if it sees all members before its place.
    """
    count = np.concatenate(([0], np.cumsum(view.alive)))
    wanted = count[view.place[queries]] - cap
    found = np.searchsorted(count, wanted) - 1
    return np.where(wanted > count[view.floor[queries]], found, NONE)


def _newest_hidden_of(view: VisibleMembers, query: int, cap: int) -> int:
    """Place of the newest member hidden by the cap, or NONE, for any query; scans its history."""
    merged, owner = view.merged, int(view.owner[query])
    start, end = merged.starts[owner], merged.starts[owner + 1]
    seen = np.flatnonzero(view.alive[start:end] & (merged.row[start:end] < view.row[query]))
    return int(start + seen[-cap - 1]) if len(seen) > cap else NONE
