"""XGBoost on the CPU, and a compiled loop for few rows.

Measured (100 trees of depth 6, 32 features, two shared cores): every ten milliseconds, ten rows
take XGBoost 1 ms, the compiled loop 0.14 ms; from 100 rows on XGBoost is faster. Margins have the
same bits.
"""

from __future__ import annotations

import numpy as np

from models.backend.compiled_trees import CompiledTrees
from models.backend.protocol import Margins, Matrix, check_matrix
from models.backend.xgboost_backend import XgboostBackend
from models.bundle import Bundle
from models.bundle.golden import nan_for, output_margins
from models.bundle.xgboost_model import XgboostModel
from models.class_margin import one_margin


class CpuBackend(XgboostBackend):
    """A model on the CPU with a fixed number of threads."""

    def __init__(self, model: XgboostModel, bundle: Bundle, threads: int) -> None:
        super().__init__(model, bundle, threads)
        # The first call builds XGBoost's predictor, so it is made before the first event.
        self._compiled_trees = self._same_as_xgboost(bundle.golden.vectors)

    def margins(self, matrix: Matrix) -> Margins:
        trees = self._compiled_trees
        if trees is None or not 0 < len(matrix) <= trees.max_rows:
            return super().margins(matrix)
        check_matrix(matrix, self._names)
        return one_margin(trees.margins(nan_for(self._missing, matrix)), self._fraud_class)

    def _same_as_xgboost(self, samples: Matrix) -> CompiledTrees | None:
        """The compiled trees; None if their margins are not those of XGBoost, bit by bit."""
        nothing = np.full((1, len(self._names)), np.nan, dtype=np.float32)
        samples = np.concatenate([nan_for(self._missing, samples), nothing])
        try:
            trees = CompiledTrees(self._booster)
        except ValueError:
            return None
        expected, margins = output_margins(self._booster, samples), trees.margins(samples)
        equal = margins.shape == expected.shape and margins.tobytes() == expected.tobytes()
        return trees if equal else None
