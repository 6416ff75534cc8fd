"""``fraud-worker`` on a GPU that fails: ``python -m benchmarks.gpu.failing FAULT COMMAND ...``.

The fault happens before the first events are scored, after the model was verified and warmed up.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import xgboost as xgb

from models.backend.cuda import CudaBackend
from models.backend.protocol import Margins, Matrix
from tools.cli.commands import main

# An illegal instruction on purpose: as after an error of the hardware, every later call of this
# process on the GPU fails. Other processes are not affected.
_KERNEL = b""".version 6.3
.target sm_75
.address_size 64
.visible .entry fail()
{
    trap;
}
"""
_LARGEST, _SMALLEST = 1 << 34, 1 << 12
"""Bytes of the blocks that take the GPU's memory."""


class Driver:
    """Calls of the GPU's driver, in the context that XGBoost uses."""

    def __init__(self, library: Any) -> None:
        self._library = library
        context = ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)

    def status(self, name: str, *arguments: object) -> int:
        """Call a function and return its status."""
        return int(getattr(self._library, name)(*arguments))

    def call(self, name: str, *arguments: object) -> None:
        """Call a function.

        Raises:
            RuntimeError: It returns an error.
        """
        if status := self.status(name, *arguments):
            raise RuntimeError(f"{name} returns CUDA error {status}")


def fail_kernel(driver: Driver) -> None:
    """Run a kernel that fails, which breaks this process's context."""
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    driver.call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(_KERNEL))
    driver.call("cuModuleGetFunction", ctypes.byref(function), module, ctypes.c_char_p(b"fail"))
    driver.call("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, None, None, None)
    if not driver.status("cuCtxSynchronize"):
        raise RuntimeError("the kernel that should fail did not")


def take_memory(driver: Driver) -> None:
    """Allocate all memory of the GPU, in ever smaller blocks."""
    size, address = _LARGEST, ctypes.c_uint64()
    while size >= _SMALLEST:
        if driver.status("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size)):
            size //= 2


def stop_predicting() -> None:
    """Let XGBoost raise an error, where there is no GPU to break."""

    def predict(*_: object, **__: object) -> None:
        raise xgb.core.XGBoostError("rehearsal of a CUDA error")

    xgb.Booster.predict = predict  # type: ignore[method-assign, assignment]


FAULTS: dict[str, Callable[[Driver], None]] = {"kernel": fail_kernel, "memory": take_memory}


def break_before_first_events(fault: Callable[[], None]) -> None:
    """Let the fault happen at the second call of a backend; its first is the warm-up."""
    own, calls = CudaBackend.margins, 0

    def margins(backend: CudaBackend, matrix: Matrix) -> Margins:
        nonlocal calls
        calls += 1
        if calls == 2:
            fault()
        return own(backend, matrix)

    CudaBackend.margins = margins  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    _, name, *arguments = sys.argv
    sys.argv = ["fraud-worker", *arguments]
    if name == "rehearsal":
        break_before_first_events(stop_predicting)
    else:
        break_before_first_events(lambda: FAULTS[name](Driver(ctypes.CDLL("libcuda.so.1"))))
    main()
