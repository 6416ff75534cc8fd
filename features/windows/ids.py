"""Finding members by the names of their events."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.windows.ragged import Longs, Mask

Names = npt.NDArray[np.uint64]

_SLOTS_PER_NAME = 16
_FEWEST_SLOTS = 2**12


def having(names: Names, wanted: Names) -> Longs:
    """The places in ``names`` of those that may be among ``wanted``: all that are, and few others.

    One look into a table of bits for each name: names are evenly spread, and most bits are unset.
    """
    size = max(_FEWEST_SLOTS, 1 << (len(wanted) * _SLOTS_PER_NAME - 1).bit_length())
    taken = np.zeros(size, np.bool_)
    mask = np.uint64(size - 1)
    taken[wanted & mask] = True
    return np.flatnonzero(taken[names & mask])


def among(names: Names, ordered: Names) -> Mask:
    """bool[N]: which names are in ``ordered``, which rises."""
    if not len(ordered):
        return np.zeros(len(names), np.bool_)
    places = np.minimum(np.searchsorted(ordered, names), len(ordered) - 1)
    found: Mask = ordered[places] == names
    return found
