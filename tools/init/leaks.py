"""Columns that give the label away: they hold what is known only after a fraud was found."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from base.arrays import Longs, Mask
from tools.init.facts import Facts

_MOST_GROUPS = 100
_FEWEST_FRAUDS = 3
"""Frauds that a group of events must have to prove something."""
_TELLING = 0.9


def gives_label_away(facts: Facts, fraud: Mask) -> bool:
    """True if nearly all frauds have values that nearly only frauds have.

    Compared are the single values, if they are few; values and nulls; zeros and other numbers.

    Args:
        facts: Facts about the values of the column.
        fraud: bool[N], True for a fraud.
    """
    return any(_tell(groups, fraud) for groups in _groupings(facts))


def _groupings(facts: Facts) -> Iterator[Longs]:
    """Yield numbers of groups from 0, int64[N]."""
    if facts.distinct <= _MOST_GROUPS:
        yield facts.codes + 1
    if facts.nulls:
        yield np.minimum(facts.codes, 0) + 1
    if facts.numbers is not None and 0 in facts.values:
        zero = int(np.flatnonzero(np.asarray(facts.values) == 0)[0])
        yield (facts.codes == zero).astype(np.int64)


def _tell(groups: Longs, fraud: Mask) -> bool:
    rows, frauds = np.bincount(groups), np.bincount(groups[fraud], minlength=groups.max() + 1)
    telling = (frauds >= _FEWEST_FRAUDS) & (frauds >= _TELLING * rows)
    return bool(frauds[telling].sum() >= _TELLING * fraud.sum() > 0)
