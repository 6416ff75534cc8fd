"""Compute the contributions of features to margins by table look-ups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from base.arrays import Mask
from models.bundle.category_sets import in_set
from models.bundle.trees import Trees
from models.treeshap.node_paths import node_paths
from models.treeshap.shapley import contribution_table
from models.treeshap.subtrees import Subtrees, cut

_DEEPEST = 12
_MAX_TREES = 5_000
_MIN_SPLITS = 7
"""Smallest limit on the splits of a subtree; a subtree with 7 splits takes 128 lines."""
MAX_NUMBERS = 2**25
"""Largest size of the table: 128 MiB."""
_AT_ONCE = 2**18
"""Numbers that are looked up at a time: few enough for a processor's cache."""
_MIN_ROWS = 8
"""Smallest number of rows explained at a time, even if they take more numbers than that."""


class TreeShap:
    """Contributions of features to the margins that trees of one output give, without the bias."""

    def __init__(self, trees: Trees, columns: int, max_numbers: int = MAX_NUMBERS) -> None:
        """Compute the table.

        Args:
            trees: The trees.
            columns: Number of columns of the model.
            max_numbers: Largest size of the table.

        Raises:
            ValueError: if there are too many trees, or a tree is too deep, for a table.
        """
        if len(trees.output) > _MAX_TREES:
            raise ValueError(f"there are more than {_MAX_TREES} trees")
        paths = node_paths(trees, _DEEPEST)
        if paths is None:
            raise ValueError(f"a tree is deeper than {_DEEPEST} splits")
        subtrees = cut(trees, paths, max(_MIN_SPLITS, len(paths.levels)))
        if subtrees.lines * subtrees.features.shape[1] > max_numbers:
            raise ValueError(f"the table would hold more than {max_numbers} numbers")
        self._columns = columns
        self._table = contribution_table(trees, paths, subtrees).ravel()
        self._store_splits(trees, subtrees)
        self._store_places(subtrees)

    def _store_splits(self, trees: Trees, subtrees: Subtrees) -> None:
        """Store the splits that determine the states of subtrees, and the split of each bit.

        An unused bit of a subtree gets an extra split, at which every row goes right.
        """
        splits = np.unique(subtrees.split_of[subtrees.split_of != -1])
        self._feature = trees.feature[splits]
        self._threshold = trees.value[splits][:, None]
        self._left_if_missing = trees.left_if_missing[splits][:, None]
        self._words = trees.words
        self._by_category = np.flatnonzero(trees.by_category[splits])
        categorical = splits[self._by_category]
        self._set_begin, self._set_end = (
            bounds[categorical][:, None] for bounds in (trees.set_begin, trees.set_end)
        )
        places = np.searchsorted(splits, subtrees.split_of)
        self._split_of_bit = np.where(subtrees.split_of == -1, len(splits), places).T.copy()

    def _store_places(self, subtrees: Subtrees) -> None:
        """Store the places of the table's numbers, grouped by feature."""
        self._width = subtrees.features.shape[1]
        subtree, place = np.nonzero(subtrees.features != -1)
        order = np.argsort(subtrees.features[subtree, place], kind="stable")
        subtree, place = subtree[order], place[order]
        self._rows = max(_MIN_ROWS, _AT_ONCE // max(1, len(subtree)))
        self._subtree_of_item = subtree
        self._place_of_item = (subtrees.starts[subtree] * self._width + place)[:, None]
        features = subtrees.features[subtree, place]
        self._features_with_items, self._starts = np.unique(features, return_index=True)

    def __call__(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Compute contributions; those of a row have the same bits in any batch.

        Args:
            matrix: float32[N, F]; NaN means missing.

        Returns:
            float64[N, F].
        """
        contributions = np.empty((len(matrix), self._columns))
        for start in range(0, len(matrix), self._rows):
            rows = matrix[start : start + self._rows]
            contributions[start : start + self._rows] = self._explain(rows).T
        return contributions

    def _explain(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Contributions float64[F, n] of rows float32[n, F]."""
        at = self._width * self._states(np.ascontiguousarray(rows.T)).astype(np.int64)
        # `take` along the first axis copies whole rows; indexing with an array takes twice as long.
        places = at.take(self._subtree_of_item, axis=0)
        places += self._place_of_item
        items = self._table.take(places)
        contributions = np.zeros((self._columns, len(rows)))
        # Unlike `sum`, `reduceat` adds the numbers of a row in the same order in any batch.
        contributions[self._features_with_items] = np.add.reduceat(
            items, self._starts, axis=0, dtype=np.float64
        )
        return contributions

    def _states(self, columns: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
        """States of the P subtrees, int16[P, n], for columns float32[F, n]."""
        left = np.zeros((len(self._feature) + 1, columns.shape[1]), np.int16)
        goes = columns.take(self._feature, axis=0) < self._threshold
        if len(self._by_category):
            goes[self._by_category] = self._left_by_category(columns)
        missing = np.isnan(columns)
        if missing.any():
            goes |= missing.take(self._feature, axis=0) & self._left_if_missing
        left[:-1] = goes
        states: npt.NDArray[np.int16] = left.take(self._split_of_bit[0], axis=0)
        for bit, split in enumerate(self._split_of_bit[1:], 1):
            states |= left.take(split, axis=0) << bit
        return states

    def _left_by_category(self, columns: npt.NDArray[np.float32]) -> Mask:
        """Outcomes of the splits by categories, for values that are not missing."""
        categories = columns.take(self._feature[self._by_category], axis=0)
        right = in_set(self._words, self._set_begin, self._set_end, categories)
        left: Mask = ~(right | np.isnan(categories))
        return left
