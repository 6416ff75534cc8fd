"""The trees of a booster as columns, and every node's way down from its root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from models.bundle.ubj import parse_ubj

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """The N nodes of all trees, one tree after the other.

    roots, left, right: counted over all trees; left and right are -1 for a leaf. value: float32[N],
    the threshold of a split (what is below it goes left), the margin of a leaf. cover: float64[N],
    by which branches are weighed when a feature is not known.
    """

    roots: Ints
    left: Ints
    right: Ints
    feature: Ints
    value: npt.NDArray[np.float32]
    cover: npt.NDArray[np.float64]
    left_if_missing: Bools

    @classmethod
    def of(cls, booster: xgb.Booster) -> Forest:
        """Those of a booster of regression trees that split by thresholds."""
        # Its own bytes: in Python, so that a thread that serves meanwhile has its turn.
        learner = parse_ubj(bytes(booster.save_raw(raw_format="ubj")))["learner"]
        trees: list[dict[str, Any]] = learner["gradient_booster"]["model"]["trees"]
        sizes = [len(tree["left_children"]) for tree in trees]
        roots = np.cumsum([0, *sizes[:-1]])
        shift = np.repeat(roots, sizes)

        def of_all(key: str, dtype: Any) -> Any:
            return np.concatenate([tree[key] for tree in trees]).astype(dtype)

        left, right = of_all("left_children", np.int64), of_all("right_children", np.int64)
        return cls(
            roots,
            np.where(left == -1, -1, left + shift),
            np.where(right == -1, -1, right + shift),
            of_all("split_indices", np.int64),
            of_all("split_conditions", np.float32),
            of_all("sum_hessian", np.float64),
            of_all("default_left", np.bool_),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Ways:
    """The way to each node. D is the most splits on any, and at least 1.

    levels: the nodes by depth. depth: int64[N], -1 where no way leads. above: int64[N, D], the
    splits above a node from the root down, -1 behind the last. went_left: bool[N, D].
    """

    levels: list[Ints]
    depth: Ints
    above: Ints
    went_left: Bools


def ways(forest: Forest, most: int) -> Ways | None:
    """The way to every node; None where one has more than ``most`` splits."""
    levels = _levels(forest, most)
    if levels is None:
        return None
    nodes, longest = len(forest.left), max(1, len(levels) - 1)
    depth = np.full(nodes, -1)
    above = np.full((nodes, longest), -1)
    went_left = np.zeros((nodes, longest), np.bool_)
    for at, level in enumerate(levels):
        depth[level] = at
        if at == len(levels) - 1:
            break
        splits = level[forest.left[level] != -1]
        for children, left in ((forest.left, True), (forest.right, False)):
            below = children[splits]
            above[below] = above[splits]
            above[below, at] = splits
            went_left[below] = went_left[splits]
            went_left[below, at] = left
    return Ways(levels, depth, above, went_left)


def _levels(forest: Forest, most: int) -> list[Ints] | None:
    levels = [forest.roots]
    while True:
        splits = levels[-1][forest.left[levels[-1]] != -1]
        if not len(splits):
            return levels
        if len(levels) > most:
            return None
        levels.append(np.concatenate([forest.left[splits], forest.right[splits]]))
