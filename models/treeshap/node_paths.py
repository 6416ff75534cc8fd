"""Trees of a booster, and the path from the root to each node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost as xgb

from base.arrays import Longs, Mask
from base.errors import BundleRefusedError
from models.bundle.model_file import ModelDocument
from models.bundle.trees import Trees


def trees_of(booster: xgb.Booster) -> Trees:
    """Read the trees of a booster.

    Raises:
        ValueError: unless their leaves have one value each.
    """
    # They are parsed in Python, so that a thread that scores meanwhile gets its turn.
    content = bytes(booster.save_raw(raw_format="ubj"))
    try:
        return ModelDocument(content, "the booster").trees()
    except BundleRefusedError as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True, eq=False)
class NodePaths:
    """Paths from the roots to all N nodes. D is the largest number of splits on a path, at least 1.

    Attributes:
        levels: Nodes of each depth, int64 each; the roots come first.
        depth: int64[N], number of splits above each node; -1 for a node that no path reaches.
        above: int64[N, D], splits above each node, from the root down; -1 after the last.
        went_left: bool[N, D], True where the path goes left at that split.
    """

    levels: list[Longs]
    depth: Longs
    above: Longs
    went_left: Mask


def node_paths(trees: Trees, max_splits: int) -> NodePaths | None:
    """Find the paths to all nodes.

    Args:
        trees: The trees.
        max_splits: Largest number of splits on a path.

    Returns:
        The paths; None if one of them has more splits.
    """
    levels = _levels(trees, max_splits)
    if levels is None:
        return None
    nodes, longest = len(trees.left), max(1, len(levels) - 1)
    depth = np.full(nodes, -1)
    above = np.full((nodes, longest), -1)
    went_left = np.zeros((nodes, longest), np.bool_)
    for at, level in enumerate(levels):
        depth[level] = at
        if at == len(levels) - 1:
            break
        splits = level[trees.left[level] != -1]
        for children, left in ((trees.left, True), (trees.right, False)):
            below = children[splits]
            above[below] = above[splits]
            above[below, at] = splits
            went_left[below] = went_left[splits]
            went_left[below, at] = left
    return NodePaths(levels, depth, above, went_left)


def _levels(trees: Trees, max_splits: int) -> list[Longs] | None:
    levels = [trees.roots[:-1]]
    while True:
        splits = levels[-1][trees.left[levels[-1]] != -1]
        if not len(splits):
            return levels
        if len(levels) > max_splits:
            return None
        levels.append(np.concatenate([trees.left[splits], trees.right[splits]]))
