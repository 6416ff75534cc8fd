"""The cap: of a history an event sees the newest members only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.windows.view import View

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NONE = -1


def apply_cap(view: View, cap: int, horizon: int) -> tuple[View, Mask]:
    """The view with its floors, and bool[Q]: where the cap hides a member of within the horizon."""
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


def _newest_hidden(view: View, queries: Longs, cap: int) -> Longs:
    """The member before the newest ``cap``, or NONE, where those before the place are all seen."""
    count = np.concatenate(([0], np.cumsum(view.alive)))
    wanted = count[view.place[queries]] - cap
    found = np.searchsorted(count, wanted) - 1
    return np.where(wanted > count[view.floor[queries]], found, NONE)


def _newest_hidden_of(view: View, query: int, cap: int) -> int:
    """Likewise for any one query, by a look at its whole history."""
    merged, owner = view.merged, int(view.owner[query])
    start, end = merged.starts[owner], merged.starts[owner + 1]
    seen = np.flatnonzero(view.alive[start:end] & (merged.row[start:end] < view.row[query]))
    return int(start + seen[-cap - 1]) if len(seen) > cap else NONE
