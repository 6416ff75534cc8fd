"""Texts that come again and again, as numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes = npt.NDArray[np.int32]


class CategoryEncoder:
    """Gives each text a number, in the order in which they come; few texts, many rows."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, values: pa.StringArray) -> Codes:
        """int32[N] of a StringArray[N] without nulls."""
        found = values.dictionary_encode()
        own = [self.code(text) for text in found.dictionary.to_pylist()]
        codes: Codes = np.array(own, np.int32)[found.indices.to_numpy()]
        return codes

    def code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each number."""
        return tuple(self._codes)
