"""The protocol of backends, and the check of the matrix that a backend takes."""

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
        """Name of the device that computes, `cpu` or `cuda`, as the score names it."""

    def margins(self, matrix: Matrix) -> Margins:
        """Compute raw margins, before calibration.

        Args:
            matrix: float32[N, F], C-contiguous, in the model's column order. NaN and the bundle's
                `missing` stand for missing values.

        Returns:
            float32[N].

        Raises:
            NonFiniteFeatureError: for an infinite value.
            ValueError: for another shape, dtype or layout.
        """

    def contributions(self, matrix: Matrix) -> Contributions:
        """Compute each feature's contribution to the margin by TreeSHAP, in log-odds.

        It costs hundreds of times as much as `margins`.

        Args:
            matrix: As for `margins`; the same errors are raised.

        Returns:
            float32[N, F+1]. The last column is the bias: the model's margin without knowledge of
            any feature. The sum of a row is its margin.
        """


def check_matrix(matrix: Matrix, names: Sequence[str]) -> None:
    """Refuse a matrix that XGBoost would score silently though it is wrong.

    Args:
        matrix: The matrix to check.
        names: Features of the model, in the order of its columns.

    Raises:
        ValueError: for a wrong shape, dtype or layout.
        NonFiniteFeatureError: for infinite values; it names the features.
    """
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ValueError(f"expected a matrix of {len(names)} columns, found shape {matrix.shape}")
    if matrix.dtype != np.float32 or not matrix.flags.c_contiguous:
        raise ValueError(f"expected C-contiguous float32, found {matrix.dtype} or another layout")
    infinite = np.isinf(matrix)
    if infinite.any():
        found = [names[i] for i in np.flatnonzero(infinite.any(axis=0)).tolist()]
        raise NonFiniteFeatureError(f"infinite values in {', '.join(found)}; NaN means missing")
