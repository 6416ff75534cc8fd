"""Shapley values of a model that can only be asked for margins, by sampled orders of the features.

The game of an event compares it with other events, the references: its players are the features,
and the value of a coalition is the mean margin of the references in which the features of the
coalition have the event's values. Features are added one after the other, in some orders and their
reverses, each order to another reference; a feature's contribution is the mean of what it adds to
the margin. Each order begins at the margin of its reference and ends at the event's own margin, so
the mean margin of the references, which is the bias, and the contributions add up to the margin
whatever the orders are. Reversed orders make contributions exact for each reference where features
interact in pairs at most (Covert and Lee, Improving KernelSHAP, 2021). Otherwise they are
estimates.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import numpy as np

from base.arrays import Floats32, Rows

_AT_ONCE: Final = 4_096
"""Largest number of rows that are computed at a time."""
_NUMBERS_AT_ONCE: Final = 2**20
"""Largest number of features in them, so that wide models take no more memory than 4 MB an array."""


class SampledShapley:
    """Contributions of features to the margins of a model.

    Orders and references are fixed: an event has the same contributions whenever it is explained.

    The model is given with each call and not kept: a backend that keeps this object would be in a
    cycle, and outlive a swap until the next collection of garbage, or for good if it is frozen.
    """

    def __init__(self, margins: Callable[[Floats32], Floats32], references: Floats32) -> None:
        """Choose an order and its reverse for each reference.

        Args:
            margins: Computes margins float32[N] of float32[N, F].
            references: float32[R, F], events to compare with.
        """
        count, columns = references.shape
        self._orders = _orders(columns, count)
        self._references = np.repeat(references, 2, axis=0)
        self._begin = margins(self._references).astype(np.float64)
        self._bias = np.float32(self._begin.mean())
        self._ranks = np.argsort(self._orders, axis=1)

    def __call__(self, margins: Callable[[Floats32], Floats32], matrix: Floats32) -> Floats32:
        """Compute contributions.

        Args:
            margins: Computes margins, as for the constructor.
            matrix: float32[N, F].

        Returns:
            float32[N, F+1]; the last column is the bias.
        """
        rows, columns = matrix.shape
        contributions = np.empty((rows, columns + 1), np.float32)
        contributions[:, -1] = self._bias
        step = max(1, _AT_ONCE // max(1, len(self._orders) * (columns - 1)))
        for start in range(0, rows, step):
            part = matrix[start : start + step]
            contributions[start : start + step, :-1] = self._explain(margins, part)
        return contributions

    def _explain(self, margins: Callable[[Floats32], Floats32], matrix: Floats32) -> Floats32:
        """Contributions float32[n, F] of rows float32[n, F]."""
        rows, columns = matrix.shape
        orders = len(self._orders)
        path = np.empty((rows, orders, columns + 1))
        path[:, :, 0] = self._begin
        path[:, :, -1] = margins(matrix)[:, None]
        width = max(1, min(_AT_ONCE, _NUMBERS_AT_ONCE // columns) // (rows * orders))
        for start in range(1, columns, width):
            counts = np.arange(start, min(start + width, columns))
            # known[o, k, f]: feature f is among the first counts[k] of order o.
            known = self._ranks[:, None, :] < counts[:, None]
            between = np.where(known, matrix[:, None, None, :], self._references[:, None, :])
            values = margins(between.reshape(-1, columns))
            path[:, :, counts] = values.reshape(rows, orders, len(counts))
        added = np.empty((rows, orders, columns))
        places = np.broadcast_to(self._orders, added.shape)
        np.put_along_axis(added, places, np.diff(path, axis=2), axis=2)
        contributions: Floats32 = added.mean(axis=1).astype(np.float32)
        return contributions


def _orders(columns: int, count: int) -> Rows:
    """Orders of the columns, each followed by its reverse, intp[2 * count, columns].

    Python keeps the numbers of `random.Random` for a seed through its versions; numpy does not.
    """
    chosen = random.Random(0)  # noqa: S311  no secret
    orders = []
    for _ in range(count):
        keys = [chosen.random() for _ in range(columns)]
        order = sorted(range(columns), key=keys.__getitem__)
        orders += [order, order[::-1]]
    return np.array(orders, np.intp)
