"""Backends, which compute margins on a CPU or a GPU."""

from __future__ import annotations

from typing import Literal

from base.errors import CudaUnusableError, NonFiniteFeatureError
from models.backend.cuda import CudaBackend
from models.backend.onnx_backend import OnnxBackend, OnnxCudaBackend
from models.backend.protocol import Backend
from models.backend.threads import available_threads
from models.backend.xgboost_backend import XgboostBackend
from models.bundle import Bundle
from models.bundle.onnx_model import OnnxModel
from models.bundle.xgboost_model import XgboostModel

__all__ = ["Backend", "NonFiniteFeatureError", "available_threads", "open_backend"]

Device = Literal["cpu", "cuda", "auto"]


def open_backend(
    bundle: Bundle, device: Device, threads: int | None = None, *, compiled: bool = True
) -> Backend:
    """Open a bundle's model on a device, and warm it up.

    Args:
        bundle: The bundle.
        device: `cpu`, `cuda`, or `auto` for a GPU if one is usable and the CPU otherwise.
        threads: Number of threads on the CPU; by default all CPUs that this process may use.
        compiled: False to do without compiled loops, which take 0.5 s of CPU to import and load.

    Raises:
        CudaUnusableError: for `cuda` without a usable GPU.
    """
    threads = threads or available_threads()
    if device != "cpu":
        try:
            return _open_on_gpu(bundle, threads)
        except CudaUnusableError:
            if device == "cuda":
                raise
    match bundle.model:
        case OnnxModel() as model:
            return OnnxBackend(model, bundle, threads)
        case XgboostModel() as model if not compiled:
            return XgboostBackend(model, bundle, threads)
        case XgboostModel() as model:
            # The sandbox does without.
            from models.backend.cpu import CpuBackend  # noqa: PLC0415

            return CpuBackend(model, bundle, threads)


def _open_on_gpu(bundle: Bundle, threads: int) -> Backend:
    match bundle.model:
        case OnnxModel() as model:
            return OnnxCudaBackend(model, bundle, threads)
        case XgboostModel() as model:
            return CudaBackend(model, bundle, threads)
