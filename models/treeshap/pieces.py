"""Trees cut into pieces: subtrees that, with the splits above them, have few splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.bundle.trees import Ints, Trees
from models.treeshap.forest import NodePaths


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """P pieces of at most B splits, those above it included; W is the most features of any.

    A piece's *state* is a number: bit b says whether a row goes left at the piece's split b.

    bits: int64[P], how many splits. split_of: int64[P, B], the node of each bit, -1 where there is
    none. features: int64[P, W], -1 behind the last. starts: int64[P], where the lines of a piece
    begin in the table, one for each state, and lines: how many there are.
    leaves: int64[L], all leaves, and piece_of: int64[L], theirs. bit_of: int64[L, D], the bit of
    each split above a leaf. place_of: int64[L, D], where its feature stands in the piece's.
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
    """The largest pieces of at most ``most`` splits, which is at least the depth of the trees."""
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
    """int64[N], the piece of each node, -1 where it is in none; and the top node of each piece."""
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
    """int64[N]: which of its piece's splits a split is."""
    splits = np.flatnonzero((piece != -1) & (trees.left != -1))
    ordered = splits[np.argsort(piece[splits], kind="stable")]
    first = np.searchsorted(piece[ordered], piece[ordered])
    rank = np.zeros(len(piece), np.int64)
    rank[ordered] = np.arange(len(ordered)) - first
    return rank


def _features(trees: Trees, split_of: Ints) -> Ints:
    """int64[P, W]: the different features of each piece's splits, rising."""
    last = np.iinfo(np.int64).max
    used = np.sort(np.where(split_of == -1, last, trees.feature[split_of]), axis=1)
    used[:, 1:][used[:, 1:] == used[:, :-1]] = last
    used.sort(axis=1)
    width = max(1, int((used != last).sum(axis=1).max(initial=0)))
    return np.where(used == last, -1, used)[:, :width]
