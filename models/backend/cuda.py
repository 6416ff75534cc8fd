"""XGBoost on an NVIDIA GPU.

With a booster on a GPU and a matrix in main memory, XGBoost predicts on the CPU without an error.
So the matrix is copied to the GPU here, and the margins must come back as an array on the GPU.
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
    """Check that this process can score on a GPU, and return the module cupy.

    Raises:
        CudaUnusableError: naming what is missing, and the remedy.
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
    except Exception as error:  # the classes that CuPy raises differ between its versions
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
    """Turn all exceptions of the GPU, its driver and its memory into DeviceLostError."""
    try:
        yield
    except CudaUnusableError:
        raise
    # CuPy and XGBoost raise many classes. None of these errors is caused by the events.
    except Exception as error:
        raise DeviceLostError(
            f"the GPU failed while it scored ({type(error).__name__}: {error}); the next process "
            "reads all uncommitted events again: check the node's driver and GPU with nvidia-smi, "
            "and that no other process takes the GPU's memory"
        ) from error


class CudaBackend:
    """A model on the first visible GPU; its methods raise DeviceLostError if the GPU fails."""

    device = "cuda"

    def __init__(self, bundle: Bundle) -> None:
        self._cupy = require_cuda()
        self._names = [feature.name for feature in bundle.features]
        self._missing = bundle.missing
        self._booster = bundle.booster.copy()
        self._booster.set_param({"device": "cuda:0"})
        # The first call compiles kernels and allocates memory, so it is made before the first event.
        self.margins(np.full((1, len(self._names)), np.nan, dtype=np.float32))

    def margins(self, matrix: Matrix) -> Margins:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        with _on_gpu():
            on_gpu = self._booster.inplace_predict(
                self._cupy.asarray(nan_for(self._missing, matrix)),
                predict_type="margin",
                validate_features=False,
            )
            if not isinstance(on_gpu, self._cupy.ndarray):
                raise CudaUnusableError(
                    "device: cuda is set, but XGBoost predicted on the CPU; install the locked "
                    "versions of XGBoost and CuPy, or set device: cpu"
                )
            margins: Margins = on_gpu.get()
        return margins

    def contributions(self, matrix: Matrix) -> Contributions:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty((0, len(self._names) + 1), dtype=np.float32)
        # A DMatrix of an array on the GPU stays on the GPU, and so does the computation.
        with _on_gpu():
            contributions = self._booster.predict(
                xgb.DMatrix(self._cupy.asarray(nan_for(self._missing, matrix))),
                pred_contribs=True,
                validate_features=False,
            )
        return np.asarray(contributions, dtype=np.float32)
