"""Compaction: remove members that no later event can see from histories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from base.arrays import Mask
from features.history.layout import cut
from features.history.merge import Stored
from features.store.protocol import Compaction

WORTH = 16
"""Minimum number of members to remove; it must also be at least the number that stays."""


def compactions(
    keys: Sequence[bytes],
    stored: Stored,
    needed: Mask,
    committed: Mask | None = None,
    cap: int | None = None,
) -> list[Compaction]:
    """Compactions of U histories that remove enough members to be worth a write.

    Args:
        keys: Keys of the U histories.
        stored: The histories as they were read.
        needed: bool[M], the members that a later event may reach; changed in place.
        committed: bool[M], the members from before the batch (None: all). Others are kept, as they
            may be read again.
        cap: Number of members that an event sees; one more is kept, so that readers know that there
            were others. None for labels, which have no cap.
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
    """Mark all but the newest ``most`` members of one history as not needed, each member once."""
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
