"""Margins of few rows by a compiled loop over the trees of a model.

XGBoost takes 135 µs for one row in a hot loop, most of it in its Python wrapper, and 650 µs every
ten milliseconds; with two threads 1.4 ms then, as it waits for the second one to wake. The
compiled loop adds the same leaves in the same order, so that margins have the same bits. Each class
of a multi-class model has a margin and trees of its own.
"""

from __future__ import annotations

import json

import numpy as np
import xgboost as xgb

from base.arrays import Floats32
from base.compiled import prove
from models.backend.kernel.trees import BY_CATEGORY, LEAF, add_trees
from models.backend.protocol import Matrix
from models.treeshap import trees_of

_FEW_LEAVES = 8_192
"""Leaves up to which the loop is faster: rows multiplied by trees."""
_EXPECTED = "7d411028545aa4c08b478b6327000f3f358d622ab7ff362364fb45bbe8d5919e"


class CompiledTrees:
    """Trees of a model in the form that the compiled loop reads.

    Attributes:
        max_rows: Number of rows up to which the loop is faster than XGBoost.
    """

    def __init__(self, booster: xgb.Booster) -> None:
        """Read the trees.

        Raises:
            ValueError: unless their leaves have one value each.
        """
        trees = trees_of(booster)
        by_default = np.where(trees.left_if_missing, trees.left, trees.right)
        feature = np.where(trees.is_split, trees.feature, LEAF)
        feature = np.where(trees.by_category, BY_CATEGORY - trees.feature, feature)
        nodes = np.stack([feature, trees.left, trees.right, by_default], axis=1)
        self._nodes = nodes.astype(np.int32)
        self._sets = np.stack([trees.set_begin, trees.set_end], axis=1).astype(np.int32)
        self._words = trees.words
        self._values = trees.value.astype(np.float32)
        self._bases = _base_margins(booster)
        roots = trees.roots[:-1].astype(np.int32)
        self._roots = [roots[trees.output == output] for output in range(len(self._bases))]
        self.max_rows = _FEW_LEAVES // len(roots)

    def margins(self, matrix: Matrix) -> Floats32:
        """Compute margins.

        Args:
            matrix: float32[N, F], NaN where missing.

        Returns:
            float32[N, K], one column for each output.
        """
        if not matrix.flags.writeable:
            matrix = matrix.copy()  # the loop is compiled for arrays that can be written to
        margins = np.empty((len(self._bases), len(matrix)), np.float32)
        for own, base, roots in zip(margins, self._bases, self._roots, strict=True):
            own[:] = base
            add_trees(matrix, roots, self._nodes, self._values, self._sets, self._words, own)
        return margins.T


def _base_margins(booster: xgb.Booster) -> Floats32:
    """Margins before the first tree, float32[K]: those of a model without trees."""
    learner = json.loads(booster.save_config())["learner"]
    shape = learner["learner_model_param"]
    scores = shape["base_score"]
    empty = xgb.Booster(
        {
            "objective": learner["objective"]["name"],
            "base_score": scores if "," in scores else scores.strip("[]"),
            "num_feature": shape["num_feature"],
            "num_class": shape["num_class"],
            "nthread": 1,
        }
    )
    nothing = np.zeros((1, int(shape["num_feature"])), np.float32)
    margins: Floats32 = empty.inplace_predict(nothing, predict_type="margin").reshape(-1)
    return margins


def prove_trees() -> None:
    """Compare margins of the compiled loop with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("trees", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Margins of eight rows by three trees, of which one splits by categories."""
    rows = [[0.5, 3.0], [1.5, 3.0], [np.nan, 3.0], [0.5, np.nan], [1.5, 2.0]]
    matrix = np.array([*rows, [1.5, 36.5], [1.5, -1.0], [1.5, 1e9]], np.float32)
    nodes = [[0, 1, 2, 1], [LEAF, -1, -1, -1], [1, 3, 4, 4], *[[LEAF] * 4] * 3]
    nodes += [[BY_CATEGORY - 1, 7, 8, 7], *[[LEAF] * 4] * 2]
    values = np.array([1.0, 0.1, 2.5, -0.7, 1e-3, 0.7, np.nan, 0.11, 0.13], np.float32)
    sets = np.zeros((len(nodes), 2), np.int32)
    sets[6] = 1, 3
    words = np.array([2**32 - 1, 1 << 3, 1 << 4], np.uint32)  # the categories 3 and 36
    margins = np.full(len(matrix), 0.3, np.float32)
    roots = np.array([0, 5, 6], np.int32)
    add_trees(matrix, roots, np.array(nodes, np.int32), values, sets, words, margins)
    return margins.tobytes()
