"""Margins of rows, tree by tree."""

from __future__ import annotations

from base.arrays import Floats32, Ints32
from base.compiled import compiled

LEAF = -1
FEATURE, LEFT, RIGHT, MISSING = range(4)
"""Columns of ``nodes``: the feature of a split, or LEAF; the child below the threshold, the other
one, and the child of a missing value."""


@compiled
def add_trees(
    matrix: Floats32, roots: Ints32, nodes: Ints32, values: Floats32, margins: Floats32
) -> None:
    """Add the leaf of each tree to the margins, in the order of the trees.

    Args:
        matrix: float32[N, F], NaN where missing.
        roots: int32[T], first node of each tree.
        nodes: int32[M, 4].
        values: float32[M], threshold of a split, or margin of a leaf.
        margins: float32[N], changed in place.
    """
    for row in range(len(matrix)):
        margin = margins[row]
        for root in roots:
            node = root
            while nodes[node, FEATURE] != LEAF:
                value = matrix[row, nodes[node, FEATURE]]
                if value != value:  # noqa: PLR0124 - NaN
                    node = nodes[node, MISSING]
                elif value < values[node]:
                    node = nodes[node, LEFT]
                else:
                    node = nodes[node, RIGHT]
            margin += values[node]
        margins[row] = margin
