"""Trees of a model as arrays, and checks for faults that XGBoost does not detect.

XGBoost does not validate a model file. If a child is its own ancestor, a prediction never ends; a
feature beyond the last makes it read outside of its memory; a leaf that is NaN is added to the
margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask
from base.errors import BundleRefusedError
from models.bundle.category_sets import Words

MAX_TREES = 10_000
_NO_PARENT = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """The N nodes of all T trees, concatenated; a node is named by its position in the arrays.

    Attributes:
        roots: int64[T+1], first node of each tree, and N at the end.
        output: int64[T], output that each tree adds to: the class.
        left: int64[N], left child; -1 for a leaf.
        right: int64[N], right child; -1 for a leaf.
        parent: int64[N], parent; -1 for a root.
        feature: int64[N], feature of a split.
        value: float32[N], threshold of a split (values below it go left), or margin of a leaf; of
            no meaning at a split by categories.
        cover: float32[N], sum of the Hessian, by which explanations weight branches.
        left_if_missing: bool[N], True if a missing value goes left.
        set_begin: int64[N], first of the `words` with the categories that go right at a split.
        set_end: int64[N], end of these words; equal to `set_begin` at all other nodes.
        words: uint32, bits of all sets, as in `models.bundle.category_sets`.
    """

    roots: Longs
    output: Longs
    left: Longs
    right: Longs
    parent: Longs
    feature: Longs
    value: npt.NDArray[np.float32]
    cover: npt.NDArray[np.float32]
    left_if_missing: Mask
    set_begin: Longs
    set_end: Longs
    words: Words

    @classmethod
    def joined(cls, trees: Sequence[Mapping[str, npt.NDArray[Any]]], output: Longs) -> Self:
        """Concatenate the arrays of all trees.

        Args:
            trees: Arrays of each tree, by XGBoost's names, and those of `read_sets`.
            output: int64[T], output of each tree.
        """
        sizes = [len(tree["left_children"]) for tree in trees]
        roots = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        shift = np.repeat(roots[:-1], sizes)
        word_ends = np.cumsum([len(tree["words"]) for tree in trees])
        word_shift = np.repeat(np.concatenate([[0], word_ends[:-1]]), sizes)

        def all_of(key: str) -> npt.NDArray[Any]:
            return np.concatenate([tree[key] for tree in trees])

        left, right, parent = map(all_of, ("left_children", "right_children", "parents"))
        return cls(
            roots,
            output,
            np.where(left == -1, -1, left + shift),
            np.where(right == -1, -1, right + shift),
            np.where(parent == _NO_PARENT, -1, parent + shift),
            all_of("split_indices"),
            all_of("split_conditions"),
            all_of("sum_hessian"),
            all_of("default_left") != 0,
            all_of("set_begin") + word_shift,
            all_of("set_end") + word_shift,
            all_of("words"),
        )

    @property
    def is_split(self) -> Mask:
        """Mask of the nodes that have children, bool[N]."""
        splits: Mask = self.left != -1
        return splits

    @property
    def by_category(self) -> Mask:
        """Mask of the splits by categories, bool[N]."""
        splits: Mask = self.is_split & (self.set_end > self.set_begin)
        return splits

    def of_output(self, output: int) -> Self:
        """The trees of one output; their nodes are still named by the positions in all arrays."""
        own = self.output == output
        roots = np.append(self.roots[:-1][own], self.roots[-1])
        return replace(self, roots=roots, output=self.output[own])


def check_trees(trees: Trees, columns: int, where: str) -> None:
    """Refuse nodes that do not form trees, and numbers that are not finite.

    Nodes that no row can reach are not checked, because pruning leaves such nodes behind.

    Args:
        trees: The trees.
        columns: Number of columns of the matrix.
        where: Name of the model in messages.

    Raises:
        BundleRefusedError: naming the first tree and node with a fault.
    """
    reached = _reachable(trees, where)
    splits = reached & trees.is_split
    infinite = ~np.isfinite(trees.value)
    faults: Mapping[str, Mask] = {
        f"a feature beyond the {columns} that it has": reached
        & ((trees.feature < 0) | (trees.feature >= columns)),
        "a threshold that is not a finite number": splits & infinite & ~trees.by_category,
        "a threshold for a feature that other nodes split by categories": splits
        & ~trees.by_category
        & np.isin(trees.feature, trees.feature[splits & trees.by_category]),
        "a leaf that is not a finite number": reached & ~trees.is_split & infinite,
        "a cover that is not a finite number": reached & ~np.isfinite(trees.cover),
    }
    for fault, has_fault in faults.items():
        _refuse(trees, np.flatnonzero(has_fault), fault, where)


def _reachable(trees: Trees, where: str) -> Mask:
    """Mask of the nodes that a row can reach from the roots, bool[N].

    Raises:
        BundleRefusedError: if the links between nodes do not form trees.
    """
    tree_of = np.repeat(np.arange(len(trees.roots) - 1), np.diff(trees.roots))
    reached = np.zeros(len(trees.left), dtype=np.bool_)
    level = trees.roots[:-1]
    _refuse(trees, level[trees.parent[level] != -1], "a parent although it is the root", where)
    while len(level):
        reached[level] = True
        splits = level[(trees.left[level] != -1) | (trees.right[level] != -1)]
        parents = np.concatenate([splits, splits])
        children = np.concatenate([trees.left[splits], trees.right[splits]])
        begin, end = trees.roots[tree_of[parents]], trees.roots[tree_of[parents] + 1]
        outside = (children < begin) | (children >= end)
        _refuse(trees, parents[outside], "a child that is not a node of its tree", where)
        distinct, counts = np.unique(children, return_counts=True)
        repeated = np.concatenate([distinct[counts > 1], children[reached[children]]])
        _refuse(trees, repeated, "more than one path to it", where)
        other = children[trees.parent[children] != parents]
        _refuse(trees, other, "a parent other than the node that leads to it", where)
        level = children
    return reached


def _refuse(trees: Trees, nodes: Longs, fault: str, where: str) -> None:
    """Raise BundleRefusedError naming the first of `nodes`, if there are any."""
    if not len(nodes):
        return
    node = int(nodes[0])
    tree = int(np.searchsorted(trees.roots, node, side="right")) - 1
    raise BundleRefusedError(
        f"{where}: tree {tree}, node {node - trees.roots[tree]} has {fault}; train or save the "
        "model again"
    )
