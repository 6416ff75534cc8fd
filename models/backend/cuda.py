"""XGBoost on an NVIDIA GPU.

XGBoost predicts on the CPU without an error when it is given a matrix in main memory and a booster
on a GPU. So the matrix is put on the GPU here, and the answer must come back from there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import xgboost as xgb

from base.errors import CudaUnusableError, DeviceLostError
from models.backend.protocol import Contributions, Margins, Matrix, check_matrix
from models.bundle import Bundle
from models.bundle.golden import nan_for


def require_cuda() -> Any:
    """The cupy module, when this process can score on a GPU.

    Raises CudaUnusableError, saying what is missing and what to do.
    """
    if not xgb.build_info().get("USE_CUDA"):
        raise CudaUnusableError(
            "device: cuda needs an XGBoost with CUDA, this one has none (xgboost-cpu?); "
            "install the extra `gpu` instead of `cpu`, or set device: cpu"
        )
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise CudaUnusableError(
            "device: cuda needs CuPy, which cannot be imported "
            f"({error}); install the extra `gpu`, or set device: cpu"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # cupy raises classes of its own, that differ between versions
        raise CudaUnusableError(
            f"device: cuda found no usable GPU driver ({error}); install the driver, give the "
            "container a GPU, or set device: cpu"
        ) from error
    if count < 1:
        raise CudaUnusableError(
            "device: cuda found a driver but no GPU; give the container a GPU, or set device: cpu"
        )
    return cupy


@contextmanager
def _on_gpu() -> Iterator[None]:
    """Raises DeviceLostError for whatever a GPU, its driver or its memory raises inside."""
    try:
        yield
    except CudaUnusableError:
        raise
    # CuPy and XGBoost have a class of their own for each; none of them is a fault of the events.
    except Exception as error:
        raise DeviceLostError(
            f"the GPU failed while it scored ({type(error).__name__}: {error}); what is not "
            "committed is read again by the next process: see the node's driver and GPU "
            "(nvidia-smi), and that nothing else takes its memory"
        ) from error


class CudaBackend:
    """A model on the first visible GPU. Calls raise DeviceLostError where it fails."""

    device = "cuda"

    def __init__(self, bundle: Bundle) -> None:
        self._cupy = require_cuda()
        self._names = [feature.name for feature in bundle.features]
        self._missing = bundle.missing
        self._booster = bundle.booster.copy()
        self._booster.set_param({"device": "cuda:0"})
        # the first call compiles kernels and takes memory; no event shall wait for it
        self.margins(np.full((1, len(self._names)), np.nan, dtype=np.float32))

    def margins(self, matrix: Matrix) -> Margins:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        with _on_gpu():
            found = self._booster.inplace_predict(
                self._cupy.asarray(nan_for(self._missing, matrix)),
                predict_type="margin",
                validate_features=False,
            )
            if not isinstance(found, self._cupy.ndarray):
                raise CudaUnusableError(
                    "XGBoost fell back to the CPU though device: cuda was asked; see that the "
                    "versions of XGBoost and CuPy are those of the lock, or set device: cpu"
                )
            margins: Margins = found.get()
        return margins

    def contributions(self, matrix: Matrix) -> Contributions:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty((0, len(self._names) + 1), dtype=np.float32)
        # A DMatrix that is made of an array on the GPU stays there, and so does what explains it.
        with _on_gpu():
            found = self._booster.predict(
                xgb.DMatrix(self._cupy.asarray(nan_for(self._missing, matrix))),
                pred_contribs=True,
                validate_features=False,
            )
        return np.asarray(found, dtype=np.float32)
