"""Compaction: histories lose what no event from here on can see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.history.keys import cut
from features.history.merge import Mask, Stored
from features.store.protocol import Compaction

Longs = npt.NDArray[np.int64]

WORTH = 16
"""Members to be gained, at least; and no fewer than stay."""


def compactions(
    keys: Sequence[bytes],
    stored: Stored,
    needed: Mask,
    committed: Mask | None = None,
    cap: int | None = None,
) -> list[Compaction]:
    """What is worth replacing, of U histories.

    needed: bool[M], the members that an event to come may reach; changed here. committed: bool[M],
    which members are of before the batch (None: all); others may come again and stay. cap: an event
    sees so many, and needs one more to know of the others; None for labels, which have none.
    """
    if not len(stored.members):
        return []
    if committed is not None:
        needed |= ~committed
    histories = len(stored.values)
    all_of = np.bincount(stored.owner, minlength=histories)
    kept_of = np.bincount(stored.owner[needed], minlength=histories)
    if cap is not None:
        large = np.flatnonzero(kept_of > 2 * cap)
        for history in large.tolist():
            _apply_cap(needed, stored, history, committed, cap + 1)
        kept_of[large] = np.bincount(stored.owner[needed], minlength=histories)[large]
    chosen = np.flatnonzero(all_of - kept_of >= np.maximum(kept_of, WORTH))
    if not len(chosen):
        return []
    take = np.zeros(histories, np.bool_)
    take[chosen] = True
    kept = np.flatnonzero(needed & take[stored.owner])
    runs = cut(stored.members.take(kept), kept_of[chosen])
    return [
        Compaction(keys[history], stored.values[history], run)
        for history, run in zip(chosen.tolist(), runs, strict=True)
    ]


def _apply_cap(
    needed: Mask, stored: Stored, history: int, committed: Mask | None, most: int
) -> None:
    """Marks all but the newest ``most`` of one history as not needed; each member once."""
    places = np.flatnonzero(stored.owner == history)
    places = places[needed[places]]
    if committed is not None:
        places = places[committed[places]]
    members = stored.members.take(places)
    order = np.lexsort((members["offset"], members["partition"], members["time"]))
    places, members = places[order], members.take(order)
    again = np.zeros(len(places), np.bool_)
    again[1:] = (members["offset"][1:] == members["offset"][:-1]) & (
        members["partition"][1:] == members["partition"][:-1]
    )
    needed[places[again]] = False
    needed[places[~again][:-most]] = False
