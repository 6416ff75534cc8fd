"""What a backend is, and the matrix that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from base.errors import NonFiniteFeatureError

Matrix = npt.NDArray[np.float32]
Margins = npt.NDArray[np.float32]
Contributions = npt.NDArray[np.float32]


class Backend(Protocol):
    """A model on one device."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda`: the device that computes, as named on the score."""

    def margins(self, matrix: Matrix) -> Margins:
        """Raw margins float32[N] of float32[N, F], C-contiguous, in the model's column order.

        NaN is a missing value, and so is the bundle's `missing`. Raises NonFiniteFeatureError for an infinite one, ValueError for
        another shape, dtype or layout.
        """

    def contributions(self, matrix: Matrix) -> Contributions:
        """What each feature adds to the margin: float32[N, F+1], in log-odds, by TreeSHAP.

        The last column is what the model gives without knowing any feature; a row's sum is its
        margin. It costs hundreds of times a margin. Takes and refuses what `margins` does.
        """


def check_matrix(matrix: Matrix, names: Sequence[str]) -> None:
    """Refuse what XGBoost would score in silence: wrong shape or layout, infinite values.

    Raises ValueError for the first, NonFiniteFeatureError, naming the features, for the second.
    """
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ValueError(f"expected a matrix of {len(names)} columns, found shape {matrix.shape}")
    if matrix.dtype != np.float32 or not matrix.flags.c_contiguous:
        raise ValueError(f"expected C-contiguous float32, found {matrix.dtype} or another layout")
    infinite = np.isinf(matrix)
    if infinite.any():
        found = [names[i] for i in np.flatnonzero(infinite.any(axis=0)).tolist()]
        raise NonFiniteFeatureError(f"infinite values in {', '.join(found)}; NaN means missing")
