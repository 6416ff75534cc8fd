"""Margins by the compiled loop over trees: those of XGBoost, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from models.backend import compiled_trees, open_backend
from models.backend.compiled_trees import CompiledTrees, golden_results, prove_trees
from models.bundle import Bundle
from tests.support.interpreted import interpreted
from tests.support.small_model import NAMES, matrix_of


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:logistic"])
@pytest.mark.parametrize(
    "options", [{}, {"base_score": 0.07}, {"num_parallel_tree": 3, "subsample": 0.5}]
)
def test_margins_are_those_of_xgboost(objective: str, options: dict[str, Any]) -> None:
    matrix = matrix_of(400, len(NAMES), seed=3)
    labels = (np.nan_to_num(matrix[:, 0]) > 0.5).astype(np.float32)
    parameters = {"objective": objective, "max_depth": 5, "nthread": 1, **options}
    booster = xgb.train(parameters, xgb.DMatrix(matrix, labels), 20)
    expected = booster.inplace_predict(matrix, predict_type="margin").reshape(-1, 1)
    trees = CompiledTrees(booster)
    np.testing.assert_array_equal(trees.margins(matrix).view(np.uint32), expected.view(np.uint32))
    matrix.flags.writeable = False
    np.testing.assert_array_equal(trees.margins(matrix), expected)


def test_xgboost_computes_margins_where_the_loop_has_others(
    bundle: Bundle, booster: xgb.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = matrix_of(3, len(NAMES), seed=4)
    expected = booster.inplace_predict(matrix, predict_type="margin")
    monkeypatch.setattr(compiled_trees, "_base_margins", lambda _: np.array([0.123], np.float32))
    margins = open_backend(bundle, "cpu", threads=1).margins(matrix)
    np.testing.assert_array_equal(margins.view(np.uint32), expected.view(np.uint32))


def test_margins_have_the_same_bits_without_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = golden_results()
    monkeypatch.setattr(
        compiled_trees, "add_trees", interpreted("models.backend")["trees"].add_trees
    )
    assert golden_results() == compiled
    prove_trees()
