"""Protocol of backends, and the check of their input."""

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
        """Name of the device, `cpu` or `cuda`, as scores name it."""

    def margins(self, matrix: Matrix) -> Margins:
        """Compute raw margins, before calibration.

        Args:
            matrix: float32[N, F], C-contiguous, in the model's column order. NaN and the bundle's
                `missing` mean missing.

        Returns:
            float32[N].

        Raises:
            NonFiniteFeatureError: for an infinite value.
            ValueError: for another shape, dtype or layout.
        """

    def contributions(self, matrix: Matrix) -> Contributions:
        """Compute each feature's contribution to the margin by TreeSHAP, in log-odds.

        The margin of a class is not linear in its trees: `models.class_margin` says how the
        contributions to all classes are combined.

        It costs hundreds of times as much as `margins`.

        Args:
            matrix: float32[N, F], as for `margins`.

        Returns:
            float32[N, F+1]. The last column is the bias, which is the model's expected margin when
            no feature is known. The sum of a row is its margin.

        Raises:
            NonFiniteFeatureError: for an infinite value.
            ValueError: for another shape, dtype or layout.
        """


def check_matrix(matrix: Matrix, names: Sequence[str]) -> None:
    """Refuse an invalid matrix, which XGBoost would score without an error.

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
        features = [names[i] for i in np.flatnonzero(infinite.any(axis=0)).tolist()]
        raise NonFiniteFeatureError(f"infinite values in {', '.join(features)}; NaN means missing")
