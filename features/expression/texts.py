"""Columns of text: numbers of listed texts, and comparison."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Floats, Mask, text_parts
from features.expression.kernel.texts import number_texts


class Text(NamedTuple):
    """StringArray[N] and bool[N], False where missing."""

    values: pa.StringArray
    valid: Mask


class TextNumbers:
    """Numbers of listed texts, and one number for all others.

    Args:
        numbers: Number of each listed text.
        other: Number of any other text.
    """

    def __init__(self, numbers: Mapping[str, float], other: float) -> None:
        listed = sorted((text.encode(), number) for text, number in numbers.items())
        texts = [text for text, _ in listed]
        self._texts = np.frombuffer(b"".join(texts), np.uint8)
        self._ends = np.array([0, *accumulate(map(len, texts))], np.int32)
        self._ends.flags.writeable = False
        self._numbers = np.array([*(number for _, number in listed), other], np.float64)

    def of(self, text: Text) -> Floats:
        """float64[N], NaN where the text is missing."""
        result = np.empty(len(text.values))
        number_texts(*text_parts(text.values), self._ends, self._texts, self._numbers, result)
        return result if text.valid.all() else np.where(text.valid, result, np.nan)


def text_equal(a: Text, b: Text) -> Floats:
    """1 where two texts are equal, else 0; missing where one of them is missing."""
    equal, valid = pc.equal(a.values, b.values), a.valid & b.valid
    values = equal.to_numpy(zero_copy_only=False).astype(np.float64)
    return values if valid.all() else np.where(valid, values, np.nan)
