"""Backends, which compute margins on a CPU or a GPU."""

from __future__ import annotations

from typing import Literal

from base.errors import CudaUnusableError, NonFiniteFeatureError
from models.backend.cuda import CudaBackend, require_cuda
from models.backend.protocol import Backend
from models.backend.threads import available_threads
from models.bundle import Bundle

__all__ = ["Backend", "NonFiniteFeatureError", "available_threads", "open_backend"]


def open_backend(
    bundle: Bundle, device: Literal["cpu", "cuda", "auto"], threads: int | None = None
) -> Backend:
    """Open a bundle's model on a device, and warm it up.

    Args:
        bundle: The bundle.
        device: `cpu`, `cuda`, or `auto` for a GPU if one is usable and the CPU otherwise.
        threads: Number of threads on the CPU; by default all CPUs that this process may use.

    Raises:
        CudaUnusableError: for `cuda` without a usable GPU.
    """
    if device == "auto":
        try:
            require_cuda()
        except CudaUnusableError:
            device = "cpu"
        else:
            device = "cuda"
    threads = threads or available_threads()
    if device == "cuda":
        return CudaBackend(bundle, threads)
    # Its compiled loop takes 0.5 s of CPU to import and load; the sandbox does without.
    from models.backend.cpu import CpuBackend  # noqa: PLC0415

    return CpuBackend(bundle, threads)
