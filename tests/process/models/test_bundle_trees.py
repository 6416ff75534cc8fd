"""Trees that cannot be followed, or do not end in numbers, are refused by tree and node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle import load_bundle, model_checks, write_bundle
from models.bundle.trees import check_trees
from tests.support.bundles import edit_model, trees_in, trees_of
from tests.support.small_model import NAMES, feature_set, matrix_of

Tree = dict[str, Any]


def leaf_of(tree: Tree) -> int:
    """A leaf that is not a child of the root, and so not everybody's."""
    leaves = [i for i, left in enumerate(tree["left_children"]) if left == -1]
    return max(leaves)


def point_to_root(tree: Tree) -> None:
    tree["left_children"][0] = 0


def another_parent(tree: Tree) -> None:
    child = tree["left_children"][0]
    tree["parents"][child] = tree["right_children"][0]


def root_with_a_parent(tree: Tree) -> None:
    tree["parents"][0] = 1


def point_up(tree: Tree) -> None:
    child = tree["left_children"][0]
    tree["left_children"][child] = child


def share_a_child(tree: Tree) -> None:
    tree["right_children"][0] = tree["left_children"][0]


def point_beyond(tree: Tree) -> None:
    tree["right_children"][0] = len(tree["left_children"])


def half_a_leaf(tree: Tree) -> None:
    tree["right_children"][leaf_of(tree)] = 1


def other_feature(tree: Tree) -> None:
    tree["split_indices"][0] = 4


def category(tree: Tree) -> None:
    tree["split_type"][0] = 1


def at(key: str, value: float, *, leaf: bool) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        tree[key][leaf_of(tree) if leaf else 0] = value

    return change


BROKEN: dict[str, tuple[Callable[[Tree], None], str]] = {
    "child is root": (point_to_root, "tree 2, node 0 has more than one path to it"),
    "child is itself": (point_up, r"tree 2, node \d+ has more than one path to it"),
    "other parent": (another_parent, "has a parent other than the node that leads to it"),
    "root's parent": (root_with_a_parent, "tree 2, node 0 has a parent although it is the root"),
    "two paths": (share_a_child, r"tree 2, node \d+ has more than one path to it"),
    "child beyond": (point_beyond, "tree 2, node 0 has a child that is not a node of its tree"),
    "half a leaf": (half_a_leaf, r"tree 2, node \d+ has a child that is not a node"),
    "feature": (other_feature, "tree 2, node 0 has a feature beyond the 4 that it has"),
    "category": (category, "tree 2: categories_nodes are not the nodes that split_type marks"),
    "threshold": (at("split_conditions", np.nan, leaf=False), "node 0 has a threshold that is no"),
    "infinite": (at("split_conditions", np.inf, leaf=False), "node 0 has a threshold that is no"),
    "leaf": (
        at("split_conditions", np.nan, leaf=True),
        r"node \d+ has a leaf that is not a finite",
    ),
    "infinite leaf": (
        at("split_conditions", -np.inf, leaf=True),
        "has a leaf that is not a finite",
    ),
    "cover": (at("sum_hessian", np.nan, leaf=True), "has a cover that is not a finite"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_a_tree_that_does_not_hold_is_refused(
    folder: Path, change: Callable[[Tree], None], said: str
) -> None:
    edit_model(folder, lambda model: change(trees_in(model)[2]))
    with pytest.raises(BundleRefusedError, match=said):
        load_bundle(folder)


def test_pruned_nodes_of_a_tree_are_ignored(folder: Path) -> None:
    def prune(model: dict[str, Any]) -> None:
        tree = trees_in(model)[2]
        left = tree["left_children"][0]
        tree["left_children"][0] = tree["right_children"][0] = -1
        tree["split_conditions"][left] = np.inf

    edit_model(folder, prune)
    model = xgb.Booster(model_file=folder / "model.json")
    check_trees(trees_of(model), len(NAMES), "model")


def test_trees_are_read_as_xgboost_follows_them(booster: xgb.Booster) -> None:
    trees = trees_of(booster)
    matrix = matrix_of(200, len(NAMES), seed=9)
    expected = booster.predict(xgb.DMatrix(matrix), output_margin=True)
    for row, margin in zip(matrix, expected, strict=True):
        found = np.float32(0.0)
        for root in trees.roots[:-1]:
            node = int(root)
            while trees.is_split[node]:
                value = row[trees.feature[node]]
                left = trees.left_if_missing[node] if np.isnan(value) else value < trees.value[node]
                node = int((trees.left if left else trees.right)[node])
            found += trees.value[node]
        assert found == margin


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "has a leaf that is not a finite number"), (3e38, "margins that are not finite")],
)
def test_a_model_whose_margins_are_no_numbers_is_not_written(
    folder: Path, tmp_path: Path, value: float, said: str
) -> None:
    def change(model: dict[str, Any]) -> None:
        for tree in trees_in(model):
            for node, left in enumerate(tree["left_children"]):
                if left == -1:
                    tree["split_conditions"][node] = value

    edit_model(folder, change)
    model = xgb.Booster(model_file=folder / "model.json")
    with pytest.raises(BundleRefusedError, match=said):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )
    assert not (tmp_path / "b").exists()


def test_too_many_trees_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_checks, "MAX_TREES", 19)
    with pytest.raises(BundleRefusedError, match="has 20 trees; accepted are 1 to 19"):
        load_bundle(folder)
