"""Shapley values of a leaf's margin, for all outcomes of the splits above it.

A leaf is a game; its players are the features above it. The player i brings o_i, 1 where the row
passes all splits on that feature and else 0. In its absence it brings z_i, the share of the
training weight that passes these splits. The leaf's margin v is multiplied by what each player
brings. Between all absent (t = 0) and all present (t = 1) the value of the game is
v * prod(z_i + t (o_i - z_i)); the Shapley value of i is the integral over t of what i adds:
v (o_i - z_i) * prod of the others (Owen, Multilinear Extensions of Games, 1972). That is a
polynomial in t, which Gauss-Legendre quadrature integrates without an error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from models.bundle.trees import Bools, Ints, Trees
from models.treeshap.node_paths import NodePaths
from models.treeshap.subtrees import Pieces

Floats = npt.NDArray[np.float64]
# Numbers of one intermediate array: few enough to stay in a processor's cache.
_BLOCK = 2**17


def table(trees: Trees, way: NodePaths, pieces: Pieces) -> npt.NDArray[np.float32]:
    """The table, float32[lines, W]: contributions of a piece to each of its features, by state."""
    found = np.zeros((pieces.lines, pieces.features.shape[1]), np.float32)
    shares, first = _shares(trees, way, pieces)
    for leaves, states in _blocks(pieces, way.above.shape[1]):
        passed = _passed(way, pieces, leaves, states, first)
        lines = pieces.starts[pieces.piece_of[leaves]][:, None] + states
        margins = trees.value[pieces.leaves[leaves]].astype(np.float64)[:, None]
        for place, values in enumerate(_values(passed, shares[leaves].T[:, :, None])):
            own = np.flatnonzero(first[leaves, place] == place)
            at = pieces.place_of[leaves[own], place][:, None]
            added = (margins[own] * values[own]).astype(np.float32)
            np.add.at(found, (lines[own], at), added)
    return found


def _shares(trees: Trees, way: NodePaths, pieces: Pieces) -> tuple[Floats, Ints]:
    """Share z of each player, and the player of each split above a leaf.

    A player is the first split on its feature. Where there is no split, or the split belongs to an
    earlier player, z is 1.

    Returns:
        z, float64[L, D], and the place of the player, int64[L, D], -1 where there is no split.
    """
    above = way.above[pieces.leaves]
    width = above.shape[1]
    below = np.concatenate([above[:, 1:], np.full((len(above), 1), -1)], axis=1)
    below = np.where(below == -1, pieces.leaves[:, None], below)
    cover = trees.cover.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(above == -1, 1.0, cover[below] / cover[above])
    feature = np.where(above == -1, -1 - np.arange(width), trees.feature[above])
    first = (feature[:, :, None] == feature[:, None, :]).argmax(axis=2)
    first[above == -1] = -1
    shares = np.ones((len(above), width))
    for place in range(width):
        rows = np.flatnonzero(above[:, place] != -1)
        shares[rows, first[rows, place]] *= ratio[rows, place]
    return shares, first


def _blocks(pieces: Pieces, width: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield a few leaves at a time, of pieces with equally many states, and these states."""
    bits = pieces.bits[pieces.piece_of]
    for count in np.unique(bits).tolist():
        leaves, states = np.flatnonzero(bits == count), np.arange(2**count)
        size = max(1, _BLOCK // (max(width, 1) * len(states)))
        for start in range(0, len(leaves), size):
            yield leaves[start : start + size], states


def _passed(way: NodePaths, pieces: Pieces, leaves: Ints, states: Ints, first: Ints) -> Bools:
    """Outcomes o of the players, bool[D, l, S]; True where there is no player."""
    width = first.shape[1]
    passed = np.ones((width, len(leaves), len(states)), np.bool_)
    went_left = way.went_left[pieces.leaves[leaves]]
    for place in range(width):
        rows = np.flatnonzero(first[leaves, place] != -1)
        bit = pieces.bit_of[leaves[rows], place][:, None]
        left = (states >> bit & 1).astype(np.bool_)
        passed[first[leaves[rows], place], rows] &= left == went_left[rows, place][:, None]
    return passed


def _values(passed: Bools, shares: Floats) -> Floats:
    """Shapley values of the players for a margin of 1, float64[D, l, S].

    Args:
        passed: Outcomes o, bool[D, l, S].
        shares: Shares z, float64[D, l, 1].
    """
    brings = passed - shares
    total = np.zeros(passed.shape)
    # Exact up to the degree 2n - 1; the product of the others has one factor less than players.
    points, weights = np.polynomial.legendre.leggauss((len(passed) + 1) // 2)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factors = shares + point * brings
        before = [np.full(passed.shape[1:], weight)]
        for factor in factors[:-1]:
            before.append(before[-1] * factor)
        after = np.ones(passed.shape[1:])
        for place in reversed(range(len(passed))):
            total[place] += before[place] * after
            after *= factors[place]
    found: Floats = total * brings
    return found
