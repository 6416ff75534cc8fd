"""Shapley values of a model that can only be asked for margins, by sampled orders of the features.

The game of an event: its players are the features, and the value of a coalition is the margin of
the event in which all other features are missing. Features are added one after the other, in some
orders and their reverses; a feature's contribution is the mean of what it adds to the margin. Each
order begins at the margin of an event of which nothing is known, which is the bias, and ends at the
event's own margin, so bias and contributions add up to the margin whatever the orders are. With
reversed orders the contributions are exact where features interact in pairs at most (Covert and
Lee, Improving KernelSHAP, 2021), and estimates otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import numpy as np

from base.arrays import Floats32

ORDERS: Final = 8
"""Orders; each is also taken in reverse."""
_AT_ONCE: Final = 4_096
"""Rows that are computed at a time."""


class SampledShapley:
    """Contributions of features to the margins of a model.

    The orders are fixed, so an event has the same contributions whenever it is explained.
    """

    def __init__(self, margins: Callable[[Floats32], Floats32], columns: int) -> None:
        """Choose the orders.

        Args:
            margins: Computes margins float32[N] of float32[N, F]; NaN means missing.
            columns: Number of features F.
        """
        self._margins = margins
        self._orders = _orders(columns, ORDERS)
        ranks = np.argsort(self._orders, axis=1)
        # known[o, k, f]: feature f is among the first k + 1 of order o.
        self._known = ranks[:, None, :] <= np.arange(columns - 1)[:, None]
        self.bias = np.float32(margins(np.full((1, columns), np.nan, np.float32))[0])

    def __call__(self, matrix: Floats32) -> Floats32:
        """Compute contributions.

        Args:
            matrix: float32[N, F].

        Returns:
            float32[N, F+1]; the last column is the bias.
        """
        rows, columns = matrix.shape
        contributions = np.empty((rows, columns + 1), np.float32)
        contributions[:, -1] = self.bias
        step = max(1, _AT_ONCE // max(1, self._known[..., 0].size))
        for start in range(0, rows, step):
            part = matrix[start : start + step]
            contributions[start : start + step, :-1] = self._explain(part)
        return contributions

    def _explain(self, matrix: Floats32) -> Floats32:
        """Contributions float32[n, F] of rows float32[n, F]."""
        rows, columns = matrix.shape
        orders, steps, _ = self._known.shape
        coalitions = np.where(self._known, matrix[:, None, None, :], np.float32(np.nan))
        every = np.concatenate([matrix, coalitions.reshape(-1, columns)])
        margins = self._margins(every).astype(np.float64)
        path = np.empty((rows, orders, columns + 1))
        path[:, :, 0] = self.bias
        path[:, :, 1:-1] = margins[rows:].reshape(rows, orders, steps)
        path[:, :, -1] = margins[:rows, None]
        added = np.empty((rows, orders, columns))
        places = np.broadcast_to(self._orders, added.shape)
        np.put_along_axis(added, places, np.diff(path, axis=2), axis=2)
        contributions: Floats32 = added.mean(axis=1).astype(np.float32)
        return contributions


def _orders(columns: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
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
