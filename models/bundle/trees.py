"""The trees of a model as columns, and what of them XGBoost would follow without a word.

XGBoost reads a model file in good faith: a child that is its own ancestor makes a prediction run
for ever, a feature beyond the last reads foreign memory, a leaf that is not a number is added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.bundle.refusal import BundleRefusedError

MAX_TREES = 10_000

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """The N nodes of all trees, one tree after the other."""

    roots: Ints
    """Where each tree begins, and at the end N."""
    left: Ints
    """Left child, counted from the first node of the first tree; -1 for a leaf."""
    right: Ints
    feature: Ints
    value: npt.NDArray[np.float32]
    """Threshold of a split (left is below it), margin of a leaf."""
    cover: npt.NDArray[np.float32]
    """Sum of the Hessian, by which explanations weigh."""
    left_if_missing: Bools
    by_category: Bools

    @property
    def is_split(self) -> Bools:
        """Which nodes have children."""
        splits: Bools = self.left != -1
        return splits


def read_trees(booster: xgb.Booster) -> Trees:
    """The trees of a booster whose `booster` is gbtree."""
    model = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]
    trees = model["trees"]
    sizes = [len(tree["left_children"]) for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    shift = np.repeat(roots[:-1], sizes)
    left, right = (_joined(trees, key, np.int64) for key in ("left_children", "right_children"))
    return Trees(
        roots,
        np.where(left == -1, -1, left + shift),
        np.where(right == -1, -1, right + shift),
        _joined(trees, "split_indices", np.int64),
        _joined(trees, "split_conditions", np.float32),
        _joined(trees, "sum_hessian", np.float32),
        _joined(trees, "default_left", np.int64) != 0,
        _joined(trees, "split_type", np.int64) != 0,
    )


def check_trees(trees: Trees, columns: int, where: str) -> None:
    """Refuse trees that cannot be followed, and those that do not end in numbers.

    columns: how many the matrix has. Raises BundleRefusedError; `where` names the model.
    """
    for tree, (begin, end) in enumerate(zip(trees.roots, trees.roots[1:], strict=False)):
        if begin == end:
            raise BundleRefusedError(f"{where}: tree {tree} has no nodes; {_AGAIN}")
    _check_shape(trees, where)
    reached = _reached(trees)
    splits = reached & trees.is_split
    infinite = ~np.isfinite(trees.value)
    found: Mapping[str, Bools] = {
        f"a feature beyond the {columns} that it has": splits
        & ((trees.feature < 0) | (trees.feature >= columns)),
        "a split by category, accepted are thresholds: encode categories as numbers": splits
        & trees.by_category,
        "a threshold that is no finite number": splits & infinite,
        "a leaf that is no finite number": reached & ~trees.is_split & infinite,
        "a cover that is no finite number": reached & ~(np.isfinite(trees.cover)),
    }
    for what, where_so in found.items():
        if where_so.any():
            raise _refusal(trees, where_so, what, where)


_AGAIN = "train or save the model again"


def _joined(trees: Iterable[dict[str, Any]], key: str, dtype: type) -> npt.NDArray[Any]:
    return np.array([value for tree in trees for value in tree[key]], dtype=dtype)


def _check_shape(trees: Trees, where: str) -> None:
    """That every node but the roots is the child of at most one other of its own tree.

    No way down from a root meets itself then.
    """
    splits = np.flatnonzero(trees.is_split | (trees.right != -1))
    tree_of = np.searchsorted(trees.roots, splits, side="right") - 1
    first, end = trees.roots[tree_of], trees.roots[tree_of + 1]
    parents = np.zeros(len(trees.left), dtype=np.int64)
    bad = np.zeros(len(trees.left), dtype=np.bool_)
    for child in (trees.left[splits], trees.right[splits]):
        outside = (child <= first) | (child >= end)
        bad[splits[outside]] = True
        np.add.at(parents, child[~outside], 1)
    if bad.any():
        raise _refusal(trees, bad, "a child that is not a node of its tree", where)
    if (parents > 1).any():
        raise _refusal(trees, parents > 1, "more than one way to it", where)


def _reached(trees: Trees) -> Bools:
    """Which nodes a row can come to. Pruning leaves others behind."""
    reached = np.zeros(len(trees.left), dtype=np.bool_)
    level = trees.roots[:-1]
    while len(level):
        reached[level] = True
        level = level[trees.left[level] != -1]
        level = np.concatenate([trees.left[level], trees.right[level]])
    return reached


def _refusal(trees: Trees, where_so: Bools, what: str, where: str) -> BundleRefusedError:
    node = int(np.flatnonzero(where_so)[0])
    tree = int(np.searchsorted(trees.roots, node, side="right")) - 1
    return BundleRefusedError(
        f"{where}: tree {tree}, node {node - trees.roots[tree]} has {what}; {_AGAIN}"
    )
