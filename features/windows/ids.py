"""Membership tests on 64-bit hashes of event ids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.windows.ragged import Longs, Mask

Names = npt.NDArray[np.uint64]

_SLOTS_PER_NAME = 16
_FEWEST_SLOTS = 2**12


def having(names: Names, wanted: Names) -> Longs:
    """Places in ``names`` that may be in ``wanted``: all that are, and a few that are not.

    One look-up in a bit table for each hash: hashes are evenly spread, and most bits are unset.
    """
    taken = np.zeros(_size(len(wanted)), np.bool_)
    taken[_slots(wanted, len(wanted))] = True
    return np.flatnonzero(taken[_slots(names, len(wanted))])


def repeated(names: Names) -> Longs:
    """Places of the hashes that occur more than once.

    A hash that is alone in its slot of a table is not sorted; that is nearly all of them.
    """
    slots = _slots(names, len(names))
    last = np.empty(_size(len(names)), np.int32)
    every = np.arange(len(names), dtype=np.int32)
    last[slots] = every
    shared = np.zeros(len(last), np.bool_)
    shared[slots[last[slots] != every]] = True
    places = np.flatnonzero(shared[slots])
    places = places[np.argsort(names[places], kind="stable")]
    same = names[places[1:]] == names[places[:-1]]
    found = np.zeros(len(places), np.bool_)
    found[1:] |= same
    found[:-1] |= same
    return np.sort(places[found])


def among(names: Names, ordered: Names) -> Mask:
    """Mark the hashes that are in ``ordered``, an ascending array; bool[N]."""
    if not len(ordered):
        return np.zeros(len(names), np.bool_)
    places = np.minimum(np.searchsorted(ordered, names), len(ordered) - 1)
    found: Mask = ordered[places] == names
    return found


def _size(count: int) -> int:
    """Number of slots of a table for ``count`` hashes."""
    return max(_FEWEST_SLOTS, 1 << (count * _SLOTS_PER_NAME - 1).bit_length())


def _slots(names: Names, count: int) -> Longs:
    """int64[N], the slot of each hash in a table for ``count`` hashes."""
    return (names & np.uint64(_size(count) - 1)).view(np.int64)
