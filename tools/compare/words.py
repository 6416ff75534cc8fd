"""Encoding of texts that occur often as numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes = npt.NDArray[np.int32]


class CategoryEncoder:
    """Encoder that numbers texts in the order of their first occurrence; for few texts."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, values: pa.StringArray) -> Codes:
        """Encode a StringArray[N] without nulls as int32[N]."""
        found = values.dictionary_encode()
        own = [self.code(text) for text in found.dictionary.to_pylist()]
        codes: Codes = np.array(own, np.int32)[found.indices.to_numpy()]
        return codes

    def code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        """Text of each code."""
        return tuple(self._codes)
