"""XGBoost on an NVIDIA GPU.

XGBoost's wheel contains CUDA's runtime, so a machine needs the GPU's driver and nothing else.
XGBoost copies a DMatrix to the GPU and computes there. If it finds no GPU, it computes on the CPU
with only a warning, so it is asked for its device first.

Making the DMatrix takes 0.2-0.4 µs an event (32 features, two shared cores), and 85 µs for a single
one (docs/explanation/decisions/0022-xgboost-alone-on-the-gpu.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import xgboost as xgb

from base.arrays import Floats32
from base.errors import CudaUnusableError, DeviceLostError
from models.backend.protocol import Contributions, Margins, Matrix, check_matrix
from models.bundle import Bundle
from models.bundle.golden import nan_for
from models.bundle.model_checks import short_message
from models.bundle.xgboost_model import XgboostModel
from models.class_margin import class_contributions, one_margin

DEVICE = "cuda:0"


def require_cuda() -> None:
    """Check that XGBoost can use a GPU.

    Raises:
        CudaUnusableError: naming what is missing, and the remedy.
    """
    if reason := why_unusable():
        raise CudaUnusableError(f"device: cuda {reason}, or set device: cpu")


def why_unusable() -> str | None:
    """Return why XGBoost can use no GPU, and the remedy; None if it can use one."""
    if not xgb.build_info().get("USE_CUDA"):
        return (
            "needs an XGBoost with CUDA, this one has none (xgboost-cpu?); install the extra `gpu` "
            "instead of `cpu`"
        )
    probe = xgb.DMatrix(np.zeros((1, 1), np.float32))
    with xgb.config_context(verbosity=0):
        booster = xgb.Booster({"device": DEVICE}, [probe])
        try:
            config = json.loads(booster.save_config())
        except xgb.core.XGBoostError as error:
            return (
                f"found a GPU that fails ({short_message(error)}); look at it with nvidia-smi, take "
                "it from other processes"
            )
    if config["learner"]["generic_param"]["device"] != DEVICE:
        major, _ = xgb.build_info()["CUDA_VERSION"]
        return (
            f"found no GPU that XGBoost can use; install NVIDIA's driver for CUDA {major} or later, "
            "give the container a GPU (`nvidia-smi` lists driver and GPUs)"
        )
    return None


@contextmanager
def on_gpu() -> Iterator[None]:
    """Turn all exceptions of the GPU, its driver and its memory into DeviceLostError."""
    try:
        yield
    # XGBoost and ONNX Runtime raise several classes. None of these errors is caused by the events.
    except Exception as error:
        raise DeviceLostError(
            f"the GPU failed while it scored ({short_message(error)}); the next process "
            "reads all uncommitted events again: check the node's driver and GPU with nvidia-smi, "
            "and that no other process takes the GPU's memory"
        ) from error


class CudaBackend:
    """A model on the first visible GPU; its methods raise DeviceLostError if the GPU fails."""

    device = "cuda"

    def __init__(self, model: XgboostModel, bundle: Bundle, threads: int) -> None:
        require_cuda()
        self._names = [feature.name for feature in bundle.features]
        self._threads = threads
        self._missing = model.missing
        self._fraud_class = model.fraud_class
        self._booster = model.booster.copy()
        self._booster.set_param({"device": DEVICE, "nthread": threads})
        # The first call allocates memory and copies the trees, so it is made before the first event.
        self.margins(np.full((1, len(self._names)), np.nan, dtype=np.float32))

    def margins(self, matrix: Matrix) -> Margins:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        margins = self._predict(matrix, output_margin=True).reshape(len(matrix), -1)
        return one_margin(margins, self._fraud_class)

    def contributions(self, matrix: Matrix) -> Contributions:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty((0, len(self._names) + 1), dtype=np.float32)
        contributions = self._predict(matrix, pred_contribs=True)
        if self._fraud_class is None:
            return contributions
        return class_contributions(contributions, self._fraud_class)

    def _predict(self, matrix: Matrix, **wanted: bool) -> Floats32:
        with on_gpu():
            data = xgb.DMatrix(nan_for(self._missing, matrix), nthread=self._threads)
            values: Floats32 = self._booster.predict(data, validate_features=False, **wanted)
        return values
