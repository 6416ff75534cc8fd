"""Margins of few rows by a compiled loop over the trees of a model.

XGBoost takes 135 µs for one row in a hot loop, most of it in its Python wrapper, and 650 µs every
ten milliseconds; with two threads 1.4 ms then, as it waits for the second one to wake. The
compiled loop adds the same leaves in the same order, so that margins have the same bits.
"""

from __future__ import annotations

import json

import numpy as np
import xgboost as xgb

from base.compiled import prove
from models.backend.kernel.trees import LEAF, add_trees
from models.backend.protocol import Margins, Matrix
from models.treeshap.node_paths import trees_of

_FEW_LEAVES = 8_192
"""Leaves up to which the loop is faster: rows multiplied by trees."""
_EXPECTED = "3c72ced4160a85f589017ffd68f81eed6f5f8d8864b2f920d26d063e29c30584"


class CompiledTrees:
    """Trees of a model in the form that the compiled loop reads.

    Attributes:
        max_rows: Number of rows up to which the loop is faster than XGBoost.
    """

    def __init__(self, booster: xgb.Booster) -> None:
        """Read the trees.

        Raises:
            ValueError: unless they are regression trees that split by thresholds, for one margin.
        """
        trees = trees_of(booster)
        by_default = np.where(trees.left_if_missing, trees.left, trees.right)
        feature = np.where(trees.is_split, trees.feature, LEAF)
        nodes = np.stack([feature, trees.left, trees.right, by_default], axis=1)
        self._nodes = nodes.astype(np.int32)
        self._roots = trees.roots[:-1].astype(np.int32)
        self._values = trees.value.astype(np.float32)
        self._base = _base_margin(booster)
        self.max_rows = _FEW_LEAVES // len(self._roots)

    def margins(self, matrix: Matrix) -> Margins:
        """Compute margins of float32[N, F], NaN where missing, as float32[N]."""
        if not matrix.flags.writeable:
            matrix = matrix.copy()  # the loop is compiled for arrays that can be written to
        margins = np.full(len(matrix), self._base)
        add_trees(matrix, self._roots, self._nodes, self._values, margins)
        return margins


def _base_margin(booster: xgb.Booster) -> np.float32:
    """Margin before the first tree: that of a model without trees."""
    learner = json.loads(booster.save_config())["learner"]
    shape = learner["learner_model_param"]
    empty = xgb.Booster(
        {
            "objective": learner["objective"]["name"],
            "base_score": shape["base_score"].strip("[]"),
            "num_feature": shape["num_feature"],
            "nthread": 1,
        }
    )
    nothing = np.zeros((1, int(shape["num_feature"])), np.float32)
    margin: np.float32 = empty.inplace_predict(nothing, predict_type="margin")[0]
    return margin


def prove_trees() -> None:
    """Compare margins of the compiled loop with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("trees", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Margins of five rows by two trees."""
    matrix = np.array(
        [[0.5, 3.0], [1.5, 3.0], [np.nan, 3.0], [0.5, np.nan], [1.5, 2.0]], np.float32
    )
    nodes = [[0, 1, 2, 1], [LEAF, -1, -1, -1], [1, 3, 4, 4], [LEAF] * 4, [LEAF] * 4, [LEAF] * 4]
    values = np.array([1.0, 0.1, 2.5, -0.7, 1e-3, 0.7], np.float32)
    margins = np.full(len(matrix), 0.3, np.float32)
    add_trees(matrix, np.array([0, 5], np.int32), np.array(nodes, np.int32), values, margins)
    return margins.tobytes()
