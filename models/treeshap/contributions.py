"""Compute the contributions of rows by table look-ups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.bundle.trees import Trees
from models.treeshap.node_paths import trees_of, ways
from models.treeshap.shapley import table
from models.treeshap.subtrees import Pieces, cut

_DEEPEST = 12
_MOST_TREES = 5_000
_FEWEST_SPLITS = 7
"""Least bound on the splits of a piece; a piece of so many takes 128 lines."""
_MOST_NUMBERS = 2**25
"""Largest size of the table: 128 MiB."""
_AT_ONCE = 2**18
"""Numbers that are looked up at a time: few enough to stay in a processor's cache."""
_FEWEST_ROWS = 8
"""Rows explained at a time at least, however many numbers a row takes."""


class TreeShap:
    """The contributions of one model's features to its margins, without the bias."""

    def __init__(
        self, booster: xgb.Booster, columns: int, most_numbers: int = _MOST_NUMBERS
    ) -> None:
        """Raises ValueError for trees too deep, or too many, for a table."""
        if booster.num_boosted_rounds() > _MOST_TREES:
            raise ValueError(f"there are more than {_MOST_TREES} trees")
        trees = trees_of(booster)
        way = ways(trees, _DEEPEST)
        if way is None:
            raise ValueError(f"a tree is deeper than {_DEEPEST} splits")
        pieces = cut(trees, way, max(_FEWEST_SPLITS, len(way.levels)))
        if pieces.lines * pieces.features.shape[1] > most_numbers:
            raise ValueError(f"the table would hold more than {most_numbers} numbers")
        self._columns = columns
        self._table = table(trees, way, pieces).ravel()
        self._place_splits(trees, pieces)
        self._place_items(pieces)

    def _place_splits(self, trees: Trees, pieces: Pieces) -> None:
        """Store the splits that decide the states of pieces, and the split of each bit.

        A bit that a piece does not use gets a last split, which no row passes to the left.
        """
        splits = np.unique(pieces.split_of[pieces.split_of != -1])
        self._feature = trees.feature[splits]
        self._threshold = trees.value[splits][:, None]
        self._left_if_missing = trees.left_if_missing[splits][:, None]
        found = np.searchsorted(splits, pieces.split_of)
        self._split_of_bit = np.where(pieces.split_of == -1, len(splits), found).T.copy()

    def _place_items(self, pieces: Pieces) -> None:
        """Store the places of the table's numbers, grouped by feature."""
        self._width = pieces.features.shape[1]
        of_piece, place = np.nonzero(pieces.features != -1)
        order = np.argsort(pieces.features[of_piece, place], kind="stable")
        of_piece, place = of_piece[order], place[order]
        self._rows = max(_FEWEST_ROWS, _AT_ONCE // max(1, len(of_piece)))
        self._piece_of_item = of_piece
        self._place_of_item = (pieces.starts[of_piece] * self._width + place)[:, None]
        features = pieces.features[of_piece, place]
        self._features_with_items, self._starts = np.unique(features, return_index=True)

    def __call__(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Contributions float64[N, F] of rows float32[N, F]; a row's are bit-equal in any batch."""
        found = np.empty((len(matrix), self._columns))
        for start in range(0, len(matrix), self._rows):
            rows = matrix[start : start + self._rows]
            found[start : start + self._rows] = self._explain(rows).T
        return found

    def _explain(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Contributions float64[F, n] of rows float32[n, F]."""
        at = self._width * self._states(np.ascontiguousarray(rows.T)).astype(np.int64)
        # `take` along the first axis copies whole rows; indexing by an array takes twice as long.
        places = at.take(self._piece_of_item, axis=0)
        places += self._place_of_item
        items = self._table.take(places)
        found = np.zeros((self._columns, len(rows)))
        # Unlike `sum`, `reduceat` adds up a row in the same order in any batch.
        found[self._features_with_items] = np.add.reduceat(
            items, self._starts, axis=0, dtype=np.float64
        )
        return found

    def _states(self, columns: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
        """States of the pieces, int16[P, n], for columns float32[F, n]."""
        left = np.zeros((len(self._feature) + 1, columns.shape[1]), np.int16)
        goes = columns.take(self._feature, axis=0) < self._threshold
        missing = np.isnan(columns)
        if missing.any():
            goes |= missing.take(self._feature, axis=0) & self._left_if_missing
        left[:-1] = goes
        states: npt.NDArray[np.int16] = left.take(self._split_of_bit[0], axis=0)
        for bit, split in enumerate(self._split_of_bit[1:], 1):
            states |= left.take(split, axis=0) << bit
        return states
