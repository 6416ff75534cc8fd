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

from models.backend.protocol import Contributions, Margins, Matrix, check_matrix
from models.bundle import Bundle
from models.bundle.golden import nan_for, score
from models.bundle.xgboost_model import XgboostModel
from models.treeshap import TreeShap

_SAMPLES = 16
_TOLERANCE = 1e-4


class XgboostBackend:
    """A model on the CPU with a fixed number of threads; XGBoost computes all margins."""

    device = "cpu"

    def __init__(self, model: XgboostModel, bundle: Bundle, threads: int) -> None:
        self._names = [feature.name for feature in bundle.features]
        self._threads = threads
        self._samples = nan_for(model.missing, bundle.golden.vectors[:_SAMPLES])
        self._missing = model.missing
        self._booster = model.booster.copy()
        self._booster.set_param({"device": "cpu", "nthread": threads})

    def margins(self, matrix: Matrix) -> Margins:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        return score(self._booster, matrix, self._missing)

    def contributions(self, matrix: Matrix) -> Contributions:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty((0, len(self._names) + 1), dtype=np.float32)
        matrix = nan_for(self._missing, matrix)
        shap, bias = self._shap
        if shap is None:
            return self._contributions_by_xgboost(matrix)
        contributions = np.empty((len(matrix), len(self._names) + 1), dtype=np.float32)
        contributions[:, :-1] = shap(matrix)
        contributions[:, -1] = bias
        return contributions

    @cached_property
    def _shap(self) -> tuple[TreeShap | None, np.float32]:
        """Table-based TreeSHAP, and the bias of the model.

        TreeSHAP is None if it refuses the trees, or differs from XGBoost on the samples.
        """
        expected = self._contributions_by_xgboost(self._samples)
        bias: np.float32 = expected[0, -1]
        try:
            shap = TreeShap(self._booster, len(self._names))
        except ValueError:
            return None, bias
        equal = np.allclose(shap(self._samples), expected[:, :-1], rtol=_TOLERANCE, atol=_TOLERANCE)
        return (shap if equal else None), bias

    def _contributions_by_xgboost(self, matrix: Matrix) -> Contributions:
        # XGBoost computes contributions for a DMatrix only, not with inplace_predict.
        contributions: Contributions = self._booster.predict(
            xgb.DMatrix(matrix, nthread=self._threads), pred_contribs=True, validate_features=False
        )
        return contributions
