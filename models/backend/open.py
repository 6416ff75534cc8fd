"""The choice of a device, made once at the start."""

from __future__ import annotations

from typing import Literal

from base.errors import CudaUnusableError
from models.backend.cpu import CpuBackend
from models.backend.cuda import CudaBackend, require_cuda
from models.backend.protocol import Backend
from models.backend.threads import available_threads
from models.bundle import Bundle


def open_backend(
    bundle: Bundle, device: Literal["cpu", "cuda", "auto"], threads: int | None = None
) -> Backend:
    """The bundle's model on `device`, warmed up. `auto` is a GPU where one is usable, else the CPU.

    `threads` are those of the CPU; by default as many as this process may use.
    Raises CudaUnusableError (a ConfigurationError) when `cuda` is asked and cannot be had.
    """
    if device == "auto":
        try:
            require_cuda()
        except CudaUnusableError:
            device = "cpu"
        else:
            device = "cuda"
    if device == "cuda":
        return CudaBackend(bundle)
    return CpuBackend(bundle, threads or available_threads())
