"""Contributions from tables are Shapley values by their definition, and XGBoost's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

import models.backend.xgboost_backend
from models.backend import open_backend
from models.bundle import Bundle
from models.bundle.trees import Trees
from models.treeshap import TreeShap, trees_of
from tests.support.bundles import booster_in
from tests.support.small_model import NAMES, matrix_of


def booster_of(
    columns: int, *, seed: int = 0, rounds: int = 5, depth: int = 4, **parameters: Any
) -> xgb.Booster:
    """A model that uses all of few columns, some of them again and again on one way down."""
    random = np.random.default_rng(seed)
    matrix = matrix_of(600, columns, seed)
    raised = np.nan_to_num(matrix).sum(axis=1) + np.abs(np.nan_to_num(matrix[:, 0]))
    labels = (raised + random.normal(size=600) > 1).astype(np.int8)
    chosen = {
        "objective": "binary:logistic",
        "max_depth": depth,
        "eta": 0.5,
        "min_child_weight": 0,
        "lambda": 0.1,
        "base_score": 0.2,
        "seed": seed,
        "nthread": 1,
    }
    return xgb.train(chosen | parameters, xgb.DMatrix(matrix, label=labels), rounds)


def own(booster: xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    return TreeShap(trees_of(booster), matrix.shape[1])(matrix)


def of_xgboost(booster: xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    found: np.ndarray = booster.predict(xgb.DMatrix(matrix, nthread=1), pred_contribs=True)
    return found.astype(np.float64)


# By the definition: over all orders in which features become known.


def known_margin(tree: dict[str, Any], row: np.ndarray, known: Iterable[int]) -> float:
    """What a tree gives when only some features are known: elsewhere both branches, by cover."""

    def at(node: int) -> float:
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left == -1:
            return float(np.float32(tree["split_conditions"][node]))
        feature = tree["split_indices"][node]
        if feature in known:
            value = row[feature]
            goes = tree["default_left"][node] if np.isnan(value) else value < threshold(node)
            return at(left if goes else right)
        cover = tree["sum_hessian"]
        return float(cover[left] * at(left) + cover[right] * at(right)) / float(cover[node])

    def threshold(node: int) -> np.float32:
        return np.float32(tree["split_conditions"][node])

    return at(0)


def subsets(items: list[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(items) + 1):
        yield from combinations(items, size)


def by_definition(booster: xgb.Booster, row: np.ndarray) -> list[float]:
    model = json.loads(bytes(booster.save_raw(raw_format="json")))
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    n = len(row)
    found = []
    for feature in range(n):
        others = [other for other in range(n) if other != feature]
        total = 0.0
        for subset in subsets(others):
            weight = factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n)
            for tree in trees:
                more = known_margin(tree, row, {*subset, feature})
                total += weight * (more - known_margin(tree, row, {*subset}))
        found.append(total)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_contributions_are_shapley_values_by_their_definition(seed: int) -> None:
    booster = booster_of(4, seed=seed, rounds=2, depth=5)
    matrix = matrix_of(6, 4, seed + 50)
    matrix[0] = np.nan
    expected = [by_definition(booster, row) for row in matrix]
    np.testing.assert_allclose(own(booster, matrix), expected, rtol=0, atol=1e-6)


@given(
    columns=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    rounds=st.integers(1, 12),
    depth=st.integers(1, 10),
    lossguide=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_contributions_are_those_of_xgboost(
    columns: int, seed: int, rounds: int, depth: int, lossguide: bool
) -> None:
    # By loss, trees are lopsided; pruning leaves nodes behind that no row comes to.
    policy = {"grow_policy": "lossguide", "max_leaves": 9} if lossguide else {"gamma": 0.3}
    booster = booster_of(columns, seed=seed, rounds=rounds, depth=depth, **policy)
    matrix = matrix_of(70, columns, seed + 1)
    matrix[:2] = np.nan
    expected = of_xgboost(booster, matrix)
    found = own(booster, matrix)
    np.testing.assert_allclose(found, expected[:, :-1], rtol=0, atol=3e-5)
    margins = booster.predict(xgb.DMatrix(matrix, nthread=1), output_margin=True)
    np.testing.assert_allclose(found.sum(axis=1) + expected[:, -1], margins, rtol=0, atol=3e-5)


def test_a_value_at_a_threshold_goes_where_xgboost_sends_it() -> None:
    booster = booster_of(3, rounds=8)
    model = json.loads(bytes(booster.save_raw(raw_format="json")))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    matrix = matrix_of(40, 3, 4)
    for at, (left, feature, threshold) in enumerate(
        zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True)
    ):
        if left != -1:
            matrix[at % 40, feature] = np.float32(threshold)
    expected = of_xgboost(booster, matrix)[:, :-1]
    np.testing.assert_allclose(own(booster, matrix), expected, rtol=0, atol=3e-5)


def test_trees_of_one_leaf_contribute_nothing() -> None:
    booster = booster_of(3, rounds=3, gamma=1e9)
    np.testing.assert_array_equal(own(booster, matrix_of(5, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 64, 65])
def test_a_row_has_the_same_bits_in_any_company(size: int) -> None:
    shap = TreeShap(trees_of(booster_of(6, rounds=40, depth=6)), 6)
    # Numbers of very different sizes, whose sum tells in which order they were added.
    random = np.random.default_rng(1)
    wide = 10.0 ** random.uniform(-12, 12, shap._table.shape)
    shap._table = (wide * random.normal(size=wide.shape)).astype(np.float32)
    shap._rows = 32
    matrix = matrix_of(100, 6, 3)
    together = shap(matrix)
    parts = [shap(matrix[i : i + size]) for i in range(0, len(matrix), size)]
    np.testing.assert_array_equal(np.concatenate(parts).view(np.uint64), together.view(np.uint64))
    assert shap(matrix[:0]).shape == (0, 6)


def test_trees_too_deep_or_too_many_for_a_table_are_refused() -> None:
    deep = booster_of(2, rounds=1, depth=30, reg_lambda=0.0)
    with pytest.raises(ValueError, match="deeper than 12 splits"):
        TreeShap(trees_of(deep), 2)
    with pytest.raises(ValueError, match="the table would hold more than 100 numbers"):
        TreeShap(trees_of(booster_of(4)), 4, max_numbers=100)


class Wrong:
    """A way that is fast, and wrong."""

    def __init__(self, _trees: Trees, columns: int, _most: int) -> None:
        self._columns = columns

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        return np.ones((len(matrix), self._columns))


class Refusing(Wrong):
    def __init__(self, _trees: Trees, columns: int, _most: int) -> None:
        raise ValueError(f"not for {columns} columns")


@pytest.mark.parametrize("fast", [Wrong, Refusing, TreeShap])
def test_the_backend_gives_those_of_xgboost_whatever_the_fast_way_does(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, fast: type
) -> None:
    monkeypatch.setattr(models.backend.xgboost_backend, "TreeShap", fast)
    backend = open_backend(bundle, "cpu", threads=1)
    matrix = matrix_of(50, len(NAMES), 8)
    found = backend.contributions(matrix)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, of_xgboost(booster_in(bundle), matrix), rtol=0, atol=1e-5)


def test_the_backend_takes_the_fast_way(bundle: Bundle) -> None:
    backend: Any = open_backend(bundle, "cpu", threads=1)
    backend.contributions(matrix_of(1, len(NAMES)))
    shaps, _ = backend._shaps
    assert [type(shap) for shap in shaps] == [TreeShap]
