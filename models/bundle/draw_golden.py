"""Draw golden vectors along the thresholds of a model, without its training data.

Each row aims at one leaf: each feature on the path to the leaf gets the smallest value, or the
largest value below a threshold, or the first category, that leads to the leaf. The other features
get one of their thresholds or categories, or the float32 next to a threshold, or are missing. From
a pool of such rows, those are kept that together reach the most leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import xgboost as xgb

from base.arrays import Floats32, Longs
from models.bundle.categories import category_counts
from models.bundle.category_sets import members
from models.bundle.trees import Trees

DEFAULT_GOLDEN = 128

_POOL = 4
_MISSING = 0.1


def draw_vectors(
    booster: xgb.Booster,
    trees: Trees,
    columns: int,
    *,
    count: int = DEFAULT_GOLDEN,
    seed: int = 0,
    missing: float = math.nan,
) -> Floats32:
    """Draw golden vectors; equal models and seeds give equal vectors.

    Args:
        booster: The model.
        trees: Checked trees of the model.
        columns: Number of columns of the model.
        count: Number of vectors.
        seed: Random seed.
        missing: Feature value that means missing, besides NaN. Half of the missing values get it.

    Returns:
        float32[count, columns]. In the first row all features are missing.
    """
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore", under="ignore"):  # the float32 next to the largest
        pool = _pool(trees, columns, _POOL * count, random)
    chosen = np.ascontiguousarray(pool[_most_leaves(booster, pool, count)])
    if not math.isnan(missing):
        chosen[np.isnan(chosen) & (random.random(chosen.shape) < 0.5)] = missing
    return chosen


def _pool(trees: Trees, columns: int, rows: int, random: np.random.Generator) -> Floats32:
    counts = category_counts(trees, columns)
    pool = _along_thresholds(trees, columns, rows, random, counts)
    leaves = np.flatnonzero(~trees.is_split)
    targets = random.permutation(leaves)[: len(pool)]
    parents = _parents(trees)
    for row, leaf in zip(pool, targets.tolist(), strict=False):
        _lead_to(row, leaf, trees, parents, counts)
    pool[0] = np.nan
    return pool


def _along_thresholds(
    trees: Trees, columns: int, rows: int, random: np.random.Generator, counts: Mapping[int, int]
) -> Floats32:
    """Draw values at, just below and just above thresholds of their feature; some are missing."""
    values = np.zeros((rows, columns), dtype=np.float32)
    for feature in range(columns):
        thresholds = trees.value[trees.is_split & (trees.feature == feature)]
        if feature in counts:  # and the next category, which no split names
            values[:, feature] = random.integers(0, counts[feature] + 1, rows)
        elif len(thresholds):
            at = thresholds[random.integers(0, len(thresholds), rows)]
            toward = np.array([-np.inf, 0, np.inf], dtype=np.float32)[random.integers(0, 3, rows)]
            values[:, feature] = np.where(toward == 0, at, np.nextafter(at, toward))
    values[random.random(values.shape) < _MISSING] = np.nan
    values[np.isinf(values)] = np.nan
    return values


def _parents(trees: Trees) -> Longs:
    parents = np.full(len(trees.left), -1, dtype=np.int64)
    splits = np.flatnonzero(trees.is_split)
    parents[trees.left[splits]] = splits
    parents[trees.right[splits]] = splits
    return parents


def _lead_to(
    row: Floats32, leaf: int, trees: Trees, parents: Longs, counts: Mapping[int, int]
) -> None:
    """Give `row` the values that lead to `leaf`; a feature without such a value is missing."""
    minimum: dict[int, np.float32] = {}
    upper_bound: dict[int, np.float32] = {}
    categories: dict[int, Longs] = {}
    node = leaf
    while (parent := int(parents[node])) != -1:
        feature, threshold = int(trees.feature[parent]), trees.value[parent]
        if trees.by_category[parent]:
            chosen = members(trees.words[trees.set_begin[parent] : trees.set_end[parent]])
            given = categories.get(feature, np.arange(counts[feature] + 1))
            keep = np.isin(given, chosen, invert=bool(node == trees.left[parent]))
            categories[feature] = given[keep]
        elif node == trees.left[parent]:
            upper_bound[feature] = min(upper_bound.get(feature, threshold), threshold)
        else:
            minimum[feature] = max(minimum.get(feature, threshold), threshold)
        node = parent
    for feature, threshold in upper_bound.items():
        row[feature] = np.nextafter(threshold, np.float32(-np.inf))
    for feature, threshold in minimum.items():
        row[feature] = threshold if threshold < upper_bound.get(feature, np.inf) else np.nan
    for feature, allowed in categories.items():
        row[feature] = allowed[0] if len(allowed) else np.nan
    row[np.isinf(row)] = np.nan


def _most_leaves(booster: xgb.Booster, pool: Floats32, count: int) -> Longs:
    """Choose rows of the pool greedily so that they reach the most leaves.

    Returns:
        int64[count], places of the rows; the first row of the pool is among them.
    """
    data = xgb.DMatrix(pool, missing=np.nan, nthread=1)
    leaf = booster.predict(data, pred_leaf=True, validate_features=False)
    leaf = leaf.reshape(len(pool), -1).astype(np.int64)
    shift = np.concatenate([[0], np.cumsum(leaf.max(axis=0) + 1)])
    leaf += shift[:-1]
    unreached = np.ones(shift[-1], dtype=np.bool_)
    chosen, available = [0], np.ones(len(pool), dtype=np.bool_)
    for _ in range(count - 1):
        unreached[leaf[chosen[-1]]] = False
        available[chosen[-1]] = False
        new_leaves = unreached[leaf].sum(axis=1)
        chosen.append(int(np.argmax(np.where(available, new_leaves, -1))))
    return np.array(chosen, dtype=np.int64)
