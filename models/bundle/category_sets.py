"""Sets of categories at the splits of a tree, and the test for membership.

A row goes right if its category is in the set of the split. XGBoost sends every other value left:
categories that the set does not name, negative numbers, and numbers from 2**24 on. It cuts off the
decimals of a fraction. A missing value takes the default direction, as at other splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from base.arrays import Longs, Mask
from models.bundle.typed_values import ints_in

CATEGORY_ARRAYS: Final = (
    "categories",
    "categories_nodes",
    "categories_segments",
    "categories_sizes",
)
END_OF_CATEGORIES: Final = 2**24
"""First number that XGBoost does not take for a category: float32 holds all smaller ones."""
WORD_BITS: Final = 32

Words = npt.NDArray[np.uint32]


def read_sets(tree: Mapping[str, Any], split_type: Longs) -> dict[str, npt.NDArray[Any]]:
    """Read the sets of a tree's nodes.

    Args:
        tree: The tree, as its file has it.
        split_type: int64[n], 1 for the nodes that split by categories.

    Returns:
        `set_begin` and `set_end`, int64[n], the words of each node's set (none for a node that
        splits by a threshold); and `words`, uint32, the bits of all sets: category c is bit c % 32
        of word c // 32.

    Raises:
        ValueError: if the arrays do not describe one set for each of these nodes.
    """
    categories, nodes, segments, sizes = (ints_in(tree, key) for key in CATEGORY_ARRAYS)
    if ((split_type < 0) | (split_type > 1)).any():
        raise ValueError("split_type holds other numbers than 0 and 1")
    if not np.array_equal(nodes, np.flatnonzero(split_type)):
        raise ValueError("categories_nodes are not the nodes that split_type marks")
    if not len(nodes) == len(segments) == len(sizes):
        raise ValueError(
            f"there are {len(nodes)} categories_nodes, {len(segments)} categories_segments and "
            f"{len(sizes)} categories_sizes"
        )
    ends = np.cumsum(sizes)
    if (sizes < 1).any() or not np.array_equal(segments, ends - sizes):
        raise ValueError("categories_segments do not follow each other")
    if len(categories) != sizes.sum():
        raise ValueError(f"{len(categories)} categories are not those of categories_sizes")
    if ((categories < 0) | (categories >= END_OF_CATEGORIES)).any():
        raise ValueError(f"categories holds other numbers than 0 to {END_OF_CATEGORIES - 1:,}")
    set_of = np.repeat(np.arange(len(nodes)), sizes)
    if (np.diff(categories)[np.diff(set_of) == 0] <= 0).any():
        raise ValueError("categories of a node do not rise")
    lengths = categories[ends - 1] // WORD_BITS + 1
    word_ends = np.cumsum(lengths)
    words = np.zeros(int(word_ends[-1]) if len(nodes) else 0, np.uint32)
    at = (word_ends - lengths)[set_of] + categories // WORD_BITS
    np.bitwise_or.at(words, at, np.uint32(1) << (categories % WORD_BITS).astype(np.uint32))
    begin, end = np.zeros((2, len(split_type)), np.int64)
    begin[nodes], end[nodes] = word_ends - lengths, word_ends
    return {"set_begin": begin, "set_end": end, "words": words}


def in_set(words: Words, begin: Longs, end: Longs, values: npt.NDArray[np.float32]) -> Mask:
    """Test which values are in sets.

    Args:
        words: Bits of all sets.
        begin: First word of each set; broadcast against `values`.
        end: End of each set's words; broadcast against `values`.
        values: float32, categories.

    Returns:
        bool, of the shape of `values`; False for NaN.
    """
    known = (values >= 0) & (values < END_OF_CATEGORIES)
    category = np.where(known, values, 0).astype(np.int64)
    word = begin + category // WORD_BITS
    known &= word < end
    bits = words[np.where(known, word, 0)] >> (category % WORD_BITS).astype(np.uint32)
    inside: Mask = known & ((bits & np.uint32(1)) != 0)
    return inside


def members(words: Words) -> Longs:
    """Categories of one set, ascending."""
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return np.flatnonzero(bits)
