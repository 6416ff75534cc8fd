"""XGBoost on the CPU.

Measured (100 trees of depth 6, 32 features, two shared cores): a call of XGBoost costs at least
100 µs, of which 75 µs is its Python wrapper; 4,000 rows take 2-4 ms. With a DMatrix it takes 1.5
times as long. Margins are bit-equal for every batch size and number of threads.

Contributions (100 trees of depth 6, 35 splits each; one core): XGBoost takes 430 µs for each row,
`models.treeshap` 19 µs, after 0.1 s to make its table.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xgboost as xgb

from base.arrays import Floats32
from models.backend.protocol import Contributions, Margins, Matrix, check_matrix
from models.bundle import Bundle
from models.bundle.golden import nan_for, score
from models.bundle.xgboost_model import XgboostModel
from models.class_margin import class_contributions
from models.treeshap import MAX_NUMBERS, TreeShap, trees_of

_SAMPLES = 16
_TOLERANCE = 1e-4
_ROWS_AT_ONCE = 256
"""Rows of a multi-class model that are explained at a time: each takes an array for every class."""


class XgboostBackend:
    """A model on the CPU with a fixed number of threads; XGBoost computes all margins."""

    device = "cpu"

    def __init__(self, model: XgboostModel, bundle: Bundle, threads: int) -> None:
        self._names = [feature.name for feature in bundle.features]
        self._threads = threads
        self._samples = nan_for(model.missing, bundle.golden.vectors[:_SAMPLES])
        self._missing = model.missing
        self._fraud_class = model.fraud_class
        self._booster = model.booster.copy()
        self._booster.set_param({"device": "cpu", "nthread": threads})

    def margins(self, matrix: Matrix) -> Margins:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        return score(self._booster, matrix, self._missing, self._fraud_class)

    def contributions(self, matrix: Matrix) -> Contributions:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty((0, len(self._names) + 1), dtype=np.float32)
        matrix = nan_for(self._missing, matrix)
        if self._fraud_class is None:
            return self._output_contributions(matrix)[:, 0]
        starts = range(0, len(matrix), _ROWS_AT_ONCE)
        parts = (self._output_contributions(matrix[i : i + _ROWS_AT_ONCE]) for i in starts)
        return np.concatenate([class_contributions(part, self._fraud_class) for part in parts])

    def _output_contributions(self, matrix: Matrix) -> Contributions:
        """Contributions to the margins of all K outputs, float32[N, K, F+1]."""
        shaps, biases = self._shaps
        if shaps is None:
            return self._contributions_by_xgboost(matrix)
        contributions = np.empty((len(matrix), len(biases), len(self._names) + 1), dtype=np.float32)
        for output, shap in enumerate(shaps):
            contributions[:, output, :-1] = shap(matrix)
        contributions[:, :, -1] = biases
        return contributions

    @cached_property
    def _shaps(self) -> tuple[list[TreeShap] | None, Floats32]:
        """Table-based TreeSHAP of each output, and the biases of the outputs, float32[K].

        TreeSHAP is None if it refuses the trees, or differs from XGBoost on the samples.
        """
        expected = self._contributions_by_xgboost(self._samples)
        biases: Floats32 = expected[0, :, -1]
        try:
            shaps = self._tables(len(biases))
        except ValueError:
            return None, biases
        for output, shap in enumerate(shaps):
            own, known = shap(self._samples), expected[:, output, :-1]
            if not np.allclose(own, known, rtol=_TOLERANCE, atol=_TOLERANCE):
                return None, biases
        return shaps, biases

    def _tables(self, outputs: int) -> list[TreeShap]:
        trees = trees_of(self._booster)
        columns, most = len(self._names), MAX_NUMBERS // outputs
        return [TreeShap(trees.of_output(output), columns, most) for output in range(outputs)]

    def _contributions_by_xgboost(self, matrix: Matrix) -> Contributions:
        # XGBoost computes contributions for a DMatrix only, not with inplace_predict.
        contributions: Contributions = self._booster.predict(
            xgb.DMatrix(matrix, nthread=self._threads), pred_contribs=True, validate_features=False
        )
        return contributions.reshape(len(matrix), -1, len(self._names) + 1)
