"""XGBoost on the CPU.

Measured (100 trees of depth 6, 32 features, two shared cores): a call costs about 100 µs however
few its rows, of which 75 µs is XGBoost's own Python wrapper; 4,000 rows take 2-4 ms. A DMatrix
costs half as much again. Margins are bit-equal for every batch size and number of threads.

Contributions: XGBoost takes 430 µs a row (100 trees of depth 6, 35 splits each; one core), and
`models.treeshap` 19 µs, after 0.1 s to make its table.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xgboost as xgb

from models.backend.protocol import Contributions, Margins, Matrix, check_matrix
from models.bundle import Bundle
from models.bundle.golden import nan_for, score
from models.treeshap import TreeShap

_SAMPLES = 16
_SAME = 1e-4


class CpuBackend:
    """A model on the CPU with a fixed number of threads."""

    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._names = [feature.name for feature in bundle.features]
        self._threads = threads
        self._samples = nan_for(bundle.missing, bundle.golden.vectors[:_SAMPLES])
        self._missing = bundle.missing
        self._booster = bundle.booster.copy()
        self._booster.set_param({"device": "cpu", "nthread": threads})
        # the first call builds XGBoost's predictor; no event shall wait for it
        self.margins(np.full((1, len(self._names)), np.nan, dtype=np.float32))

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
        """Table-based TreeSHAP and the bias; None for trees that it refuses or gets wrong."""
        known = self._contributions_by_xgboost(self._samples)
        bias: np.float32 = known[0, -1]
        try:
            shap = TreeShap(self._booster, len(self._names))
        except ValueError:
            return None, bias
        same = np.allclose(shap(self._samples), known[:, :-1], rtol=_SAME, atol=_SAME)
        return (shap if same else None), bias

    def _contributions_by_xgboost(self, matrix: Matrix) -> Contributions:
        # inplace_predict has no contributions: XGBoost computes them for a DMatrix only.
        contributions: Contributions = self._booster.predict(
            xgb.DMatrix(matrix, nthread=self._threads), pred_contribs=True, validate_features=False
        )
        return contributions
