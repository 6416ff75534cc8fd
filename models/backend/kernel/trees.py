"""Margins of rows, tree by tree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from base.arrays import Floats32, Ints32
from base.compiled import compiled

LEAF = -1
BY_CATEGORY = -2
"""A split by the categories of feature f has the number BY_CATEGORY - f in place of f."""
FEATURE, LEFT, RIGHT, MISSING = range(4)
"""Columns of ``nodes``: the feature of a split, or LEAF; the child below the threshold, or of a
category that is not in the set; the other one; and the child of a missing value."""
END_OF_CATEGORIES = np.float32(2**24)


@compiled
def add_trees(
    matrix: Floats32,
    roots: Ints32,
    nodes: Ints32,
    values: Floats32,
    sets: Ints32,
    words: npt.NDArray[np.uint32],
    margins: Floats32,
) -> None:
    """Add the leaf of each tree to the margins, in the order of the trees.

    Args:
        matrix: float32[N, F], NaN where missing.
        roots: int32[T], first node of each tree.
        nodes: int32[M, 4].
        values: float32[M], threshold of a split, or margin of a leaf.
        sets: int32[M, 2], begin and end of the words with the categories of a split.
        words: uint32[W], bits of the categories, as in `models.bundle.category_sets`.
        margins: float32[N], changed in place.
    """
    for row in range(len(matrix)):
        margin = margins[row]
        for root in roots:
            node = root
            while nodes[node, FEATURE] != LEAF:
                feature = nodes[node, FEATURE]
                if feature >= 0:
                    value = matrix[row, feature]
                    if value != value:  # noqa: PLR0124 - NaN
                        node = nodes[node, MISSING]
                    elif value < values[node]:
                        node = nodes[node, LEFT]
                    else:
                        node = nodes[node, RIGHT]
                else:
                    value = matrix[row, BY_CATEGORY - feature]
                    if value != value:  # noqa: PLR0124 - NaN
                        node = nodes[node, MISSING]
                    elif value < 0 or value >= END_OF_CATEGORIES:
                        node = nodes[node, LEFT]
                    else:
                        category = np.int64(value)
                        word = sets[node, 0] + category // 32
                        if word < sets[node, 1] and (words[word] >> (category % 32)) & 1:
                            node = nodes[node, RIGHT]
                        else:
                            node = nodes[node, LEFT]
            margin += values[node]
        margins[row] = margin
