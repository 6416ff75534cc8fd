"""Cut trees into pieces: subtrees that, with the splits above them, have few splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.bundle.trees import Ints, Trees
from models.treeshap.node_paths import NodePaths


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """P pieces of at most B splits, those above it included; W is the most features of a piece.

    A piece's *state* is a number: bit b is 1 where a row goes left at the piece's split b. The
    table of contributions has one line for each state of each piece.

    Attributes:
        bits: int64[P], number of splits of each piece.
        split_of: int64[P, B], node of each bit; -1 where there is none.
        features: int64[P, W], features of each piece; -1 after the last.
        starts: int64[P], first line of each piece in the table.
        lines: Number of lines in the table.
        leaves: int64[L], all leaves.
        piece_of: int64[L], piece of each leaf.
        bit_of: int64[L, D], bit of each split above a leaf.
        place_of: int64[L, D], place of that split's feature in the piece's `features`.
    """

    bits: Ints
    split_of: Ints
    features: Ints
    starts: Ints
    lines: int
    leaves: Ints
    piece_of: Ints
    bit_of: Ints
    place_of: Ints


def cut(trees: Trees, way: NodePaths, most: int) -> Pieces:
    """Cut trees into the largest pieces of at most ``most`` splits.

    ``most`` is at least the depth of the trees.
    """
    piece, tops = _assigned(trees, way, most)
    rank = _ranks(trees, piece)
    splits = np.flatnonzero((piece != -1) & (trees.left != -1))
    # A piece's bits: the splits above its top, then its own.
    bit_of_split = np.full(len(piece), -1)
    bit_of_split[splits] = way.depth[tops[piece[splits]]] + rank[splits]
    split_of = np.full((len(tops), most), -1)
    split_of[:, : way.above.shape[1]] = way.above[tops]
    split_of[piece[splits], bit_of_split[splits]] = splits
    bits = (split_of != -1).sum(axis=1)
    features = _features(trees, split_of)
    starts = np.cumsum(2**bits) - 2**bits
    leaves = np.flatnonzero((piece != -1) & (trees.left == -1))
    piece_of, above = piece[leaves], way.above[leaves]
    own = np.arange(above.shape[1]) >= way.depth[tops[piece_of]][:, None]
    bit_of = np.where(own, bit_of_split[above], np.arange(above.shape[1]))
    place_of = (features[piece_of][:, None, :] == trees.feature[above][:, :, None]).argmax(axis=2)
    return Pieces(
        bits,
        split_of,
        features,
        starts,
        int((2**bits).sum()),
        leaves,
        piece_of,
        bit_of,
        place_of,
    )


def _assigned(trees: Trees, way: NodePaths, most: int) -> tuple[Ints, Ints]:
    """Piece of each node, int64[N], -1 for none; and the top node of each piece."""
    inside = np.zeros(len(trees.left), np.int64)
    for level in reversed(way.levels):
        splits = level[trees.left[level] != -1]
        inside[splits] = 1 + inside[trees.left[splits]] + inside[trees.right[splits]]
    piece = np.full(len(inside), -1)
    tops: list[Ints] = []
    count = 0
    for level in way.levels:
        new = level[(piece[level] == -1) & (way.depth[level] + inside[level] <= most)]
        piece[new] = count + np.arange(len(new))
        count += len(new)
        tops.append(new)
        splits = level[trees.left[level] != -1]
        for children in (trees.left, trees.right):
            piece[children[splits]] = piece[splits]
    return piece, np.concatenate(tops)


def _ranks(trees: Trees, piece: Ints) -> Ints:
    """Rank of each split among the splits of its piece, int64[N]."""
    splits = np.flatnonzero((piece != -1) & (trees.left != -1))
    ordered = splits[np.argsort(piece[splits], kind="stable")]
    first = np.searchsorted(piece[ordered], piece[ordered])
    rank = np.zeros(len(piece), np.int64)
    rank[ordered] = np.arange(len(ordered)) - first
    return rank


def _features(trees: Trees, split_of: Ints) -> Ints:
    """Distinct features of each piece's splits, int64[P, W], in ascending order."""
    last = np.iinfo(np.int64).max
    used = np.sort(np.where(split_of == -1, last, trees.feature[split_of]), axis=1)
    used[:, 1:][used[:, 1:] == used[:, :-1]] = last
    used.sort(axis=1)
    width = max(1, int((used != last).sum(axis=1).max(initial=0)))
    return np.where(used == last, -1, used)[:, :width]
