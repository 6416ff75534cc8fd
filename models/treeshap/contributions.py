"""Rows to contributions, by the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.bundle.trees import Trees
from models.treeshap.forest import trees_of, ways
from models.treeshap.games import table
from models.treeshap.pieces import Pieces, cut

_DEEPEST = 12
_MOST_TREES = 5_000
_FEWEST_SPLITS = 7
"""Of the largest piece; a piece of so many takes 128 lines."""
_MOST_NUMBERS = 2**25
"""Of the table: 128 MiB."""
_ROWS = 32
"""Explained at a time; the numbers that are looked up for them stay in a processor's cache."""


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
        """Which splits decide a piece's state. Where it has no more, one that nothing passes."""
        splits = np.unique(pieces.split_of[pieces.split_of != -1])
        self._feature = trees.feature[splits]
        self._threshold = trees.value[splits][:, None]
        self._left_if_missing = trees.left_if_missing[splits][:, None]
        found = np.searchsorted(splits, pieces.split_of)
        self._split_of_bit = np.where(pieces.split_of == -1, len(splits), found).T.copy()

    def _place_items(self, pieces: Pieces) -> None:
        """Where the numbers of the first feature stand in the table, then those of the second."""
        self._width = pieces.features.shape[1]
        of_piece, place = np.nonzero(pieces.features != -1)
        order = np.argsort(pieces.features[of_piece, place], kind="stable")
        of_piece, place = of_piece[order], place[order]
        self._piece_of_item = of_piece
        self._place_of_item = (pieces.starts[of_piece] * self._width + place)[:, None]
        features = pieces.features[of_piece, place]
        self._ends = np.searchsorted(features, np.arange(self._columns + 1))

    def __call__(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """float64[N, F] of float32[N, F]; a row's are the same bits in any company."""
        found = np.empty((len(matrix), self._columns))
        for start in range(0, len(matrix), _ROWS):
            rows = matrix[start : start + _ROWS]
            # Of a single row, numpy would add up its numbers in another order.
            pair = rows if len(rows) > 1 else np.concatenate([rows, rows])
            found[start : start + _ROWS] = self._explain(pair)[: len(rows)]
        return found

    def _explain(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        at = self._width * self._states(np.ascontiguousarray(rows.T))
        items = self._table.take(at[self._piece_of_item] + self._place_of_item)
        found = np.empty((len(rows), self._columns))
        for feature in range(self._columns):
            own = items[self._ends[feature] : self._ends[feature + 1]]
            found[:, feature] = own.sum(axis=0, dtype=np.float64)
        return found

    def _states(self, columns: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """int64[P, n], the state of each piece, of float32[F, n]."""
        left = np.zeros((len(self._feature) + 1, columns.shape[1]), np.int64)
        goes = columns[self._feature] < self._threshold
        missing = np.isnan(columns)
        if missing.any():
            goes |= missing[self._feature] & self._left_if_missing
        left[:-1] = goes
        states: npt.NDArray[np.int64] = left[self._split_of_bit[0]]
        for bit, split in enumerate(self._split_of_bit[1:], 1):
            states |= left[split] << bit
        return states
