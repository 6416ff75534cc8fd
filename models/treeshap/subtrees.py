"""Cut trees into subtrees that have few splits, counting the splits above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from base.arrays import Longs
from models.bundle.trees import Trees
from models.treeshap.node_paths import NodePaths


@dataclass(frozen=True, slots=True, eq=False)
class Subtrees:
    """P subtrees with at most B splits each, counting those above; W is their most features.

    The *state* of a subtree for a row is a number: bit b is 1 if the row goes left at split b of
    the subtree. The table of contributions has one line for each state of each subtree. L is the
    number of leaves, D the largest number of splits on a path.

    Attributes:
        bits: int64[P], number of splits of each subtree.
        split_of: int64[P, B], node of each bit; -1 for an unused bit.
        features: int64[P, W], features of each subtree; -1 after the last.
        starts: int64[P], first line of each subtree in the table.
        lines: Number of lines in the table.
        leaves: int64[L], all leaves.
        subtree_of: int64[L], subtree of each leaf.
        bit_of: int64[L, D], bit of each split above a leaf.
        place_of: int64[L, D], place of that split's feature in the subtree's `features`.
    """

    bits: Longs
    split_of: Longs
    features: Longs
    starts: Longs
    lines: int
    leaves: Longs
    subtree_of: Longs
    bit_of: Longs
    place_of: Longs


def cut(trees: Trees, paths: NodePaths, max_splits: int) -> Subtrees:
    """Cut trees into the largest subtrees of at most `max_splits` splits.

    Args:
        trees: The trees.
        paths: Paths to the nodes.
        max_splits: Largest number of splits of a subtree; at least the depth of the trees.
    """
    subtree, tops = _assigned(trees, paths, max_splits)
    rank = _ranks(trees, subtree)
    splits = np.flatnonzero((subtree != -1) & (trees.left != -1))
    # The first bits of a subtree are the splits above its top, the next are its own splits.
    bit_of_split = np.full(len(subtree), -1)
    bit_of_split[splits] = paths.depth[tops[subtree[splits]]] + rank[splits]
    split_of = np.full((len(tops), max_splits), -1)
    split_of[:, : paths.above.shape[1]] = paths.above[tops]
    split_of[subtree[splits], bit_of_split[splits]] = splits
    bits = (split_of != -1).sum(axis=1)
    features = _features(trees, split_of)
    leaves = np.flatnonzero((subtree != -1) & (trees.left == -1))
    subtree_of, above = subtree[leaves], paths.above[leaves]
    own = np.arange(above.shape[1]) >= paths.depth[tops[subtree_of]][:, None]
    used = features[subtree_of][:, None, :] == trees.feature[above][:, :, None]
    return Subtrees(
        bits=bits,
        split_of=split_of,
        features=features,
        starts=np.cumsum(2**bits) - 2**bits,
        lines=int((2**bits).sum()),
        leaves=leaves,
        subtree_of=subtree_of,
        bit_of=np.where(own, bit_of_split[above], np.arange(above.shape[1])),
        place_of=used.argmax(axis=2),
    )


def _assigned(trees: Trees, paths: NodePaths, max_splits: int) -> tuple[Longs, Longs]:
    """Assign nodes to subtrees.

    Returns:
        Subtree of each node, int64[N], -1 for none; and the top node of each subtree, int64[P].
    """
    inside = np.zeros(len(trees.left), np.int64)
    for level in reversed(paths.levels):
        splits = level[trees.left[level] != -1]
        inside[splits] = 1 + inside[trees.left[splits]] + inside[trees.right[splits]]
    subtree = np.full(len(inside), -1)
    tops: list[Longs] = []
    count = 0
    for level in paths.levels:
        new = level[(subtree[level] == -1) & (paths.depth[level] + inside[level] <= max_splits)]
        subtree[new] = count + np.arange(len(new))
        count += len(new)
        tops.append(new)
        splits = level[trees.left[level] != -1]
        for children in (trees.left, trees.right):
            subtree[children[splits]] = subtree[splits]
    return subtree, np.concatenate(tops)


def _ranks(trees: Trees, subtree: Longs) -> Longs:
    """Rank of each split among the splits of its subtree, int64[N]."""
    splits = np.flatnonzero((subtree != -1) & (trees.left != -1))
    ordered = splits[np.argsort(subtree[splits], kind="stable")]
    first = np.searchsorted(subtree[ordered], subtree[ordered])
    rank = np.zeros(len(subtree), np.int64)
    rank[ordered] = np.arange(len(ordered)) - first
    return rank


def _features(trees: Trees, split_of: Longs) -> Longs:
    """Distinct features of each subtree's splits, int64[P, W], in ascending order."""
    last = np.iinfo(np.int64).max
    used = np.sort(np.where(split_of == -1, last, trees.feature[split_of]), axis=1)
    used[:, 1:][used[:, 1:] == used[:, :-1]] = last
    used.sort(axis=1)
    width = max(1, int((used != last).sum(axis=1).max(initial=0)))
    return np.where(used == last, -1, used)[:, :width]
