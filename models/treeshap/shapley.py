"""Shapley values of a leaf's margin, for all outcomes of the splits above it.

A leaf is a cooperative game; its players are the features above it. If player i is present, it
contributes the factor o_i: 1 if the row passes all splits on that feature towards the leaf, else 0.
If it is absent, it contributes z_i, the share of the training weight that passes these splits. The
value of the game is the leaf's margin v times the product of these factors. Between all absent
(t = 0) and all present (t = 1) it is v * prod(z_i + t (o_i - z_i)). The Shapley value of i is the
integral over t of the part that i adds: v (o_i - z_i) * prod of the other factors (Owen,
Multilinear Extensions of Games, 1972). That is a polynomial in t, so Gauss-Legendre quadrature
integrates it exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from base.arrays import Floats, Longs, Mask
from models.bundle.trees import Trees
from models.treeshap.node_paths import NodePaths
from models.treeshap.subtrees import Subtrees

# Size of one intermediate array: small enough for a processor's cache.
_BLOCK = 2**17


def contribution_table(
    trees: Trees, paths: NodePaths, subtrees: Subtrees
) -> npt.NDArray[np.float32]:
    """Compute the contributions of each subtree to each of its features, for each state.

    Returns:
        float32[lines, W].
    """
    table = np.zeros((subtrees.lines, subtrees.features.shape[1]), np.float32)
    shares, player_of = _shares(trees, paths, subtrees)
    for leaves, states in _blocks(subtrees, paths.above.shape[1]):
        passed = _passed(paths, subtrees, leaves, states, player_of)
        lines = subtrees.starts[subtrees.subtree_of[leaves]][:, None] + states
        margins = trees.value[subtrees.leaves[leaves]].astype(np.float64)[:, None]
        for place, values in enumerate(_values(passed, shares[leaves].T[:, :, None])):
            own = np.flatnonzero(player_of[leaves, place] == place)
            at = subtrees.place_of[leaves[own], place][:, None]
            added = (margins[own] * values[own]).astype(np.float32)
            np.add.at(table, (lines[own], at), added)
    return table


def _shares(trees: Trees, paths: NodePaths, subtrees: Subtrees) -> tuple[Floats, Longs]:
    """Share z of each player, and the player of each split above a leaf.

    A player is named by the place of the first split on its feature. At places without a split, or
    with a later split on the same feature, z is 1.

    Returns:
        z, float64[L, D]; and the player of each split, int64[L, D], -1 if there is no split.
    """
    above = paths.above[subtrees.leaves]
    width = above.shape[1]
    below = np.concatenate([above[:, 1:], np.full((len(above), 1), -1)], axis=1)
    below = np.where(below == -1, subtrees.leaves[:, None], below)
    cover = trees.cover.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(above == -1, 1.0, cover[below] / cover[above])
    feature = np.where(above == -1, -1 - np.arange(width), trees.feature[above])
    player_of = (feature[:, :, None] == feature[:, None, :]).argmax(axis=2)
    player_of[above == -1] = -1
    shares = np.ones((len(above), width))
    for place in range(width):
        rows = np.flatnonzero(above[:, place] != -1)
        shares[rows, player_of[rows, place]] *= ratio[rows, place]
    return shares, player_of


def _blocks(subtrees: Subtrees, width: int) -> Iterator[tuple[Longs, Longs]]:
    """Yield a few leaves at a time, from subtrees with equal numbers of states, and the states."""
    bits = subtrees.bits[subtrees.subtree_of]
    for count in np.unique(bits).tolist():
        leaves, states = np.flatnonzero(bits == count), np.arange(2**count)
        size = max(1, _BLOCK // (max(width, 1) * len(states)))
        for start in range(0, len(leaves), size):
            yield leaves[start : start + size], states


def _passed(
    paths: NodePaths, subtrees: Subtrees, leaves: Longs, states: Longs, player_of: Longs
) -> Mask:
    """Outcomes o of the players of l leaves in S states, bool[D, l, S]; True without a player."""
    width = player_of.shape[1]
    passed = np.ones((width, len(leaves), len(states)), np.bool_)
    went_left = paths.went_left[subtrees.leaves[leaves]]
    for place in range(width):
        rows = np.flatnonzero(player_of[leaves, place] != -1)
        bit = subtrees.bit_of[leaves[rows], place][:, None]
        left = (states >> bit & 1).astype(np.bool_)
        passed[player_of[leaves[rows], place], rows] &= left == went_left[rows, place][:, None]
    return passed


def _values(passed: Mask, shares: Floats) -> Floats:
    """Shapley values of the players for a margin of 1.

    Args:
        passed: Outcomes o, bool[D, l, S].
        shares: Shares z, float64[D, l, 1].

    Returns:
        float64[D, l, S].
    """
    differences = passed - shares
    total = np.zeros(passed.shape)
    # n points are exact up to degree 2n - 1; the product of the other factors has degree D - 1.
    points, weights = np.polynomial.legendre.leggauss((len(passed) + 1) // 2)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factors = shares + point * differences
        before = [np.full(passed.shape[1:], weight)]
        for factor in factors[:-1]:
            before.append(before[-1] * factor)
        after = np.ones(passed.shape[1:])
        for place in reversed(range(len(passed))):
            total[place] += before[place] * after
            after *= factors[place]
    values: Floats = total * differences
    return values
