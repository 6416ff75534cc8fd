"""Proof of the CUDA path: a rehearsal, the end without a GPU, and faults on a fake driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import failing

ROOT = Path(__file__).parents[3]


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(900)  # half a minute of CPU, and many processes
def test_a_rehearsal_passes_all_checks_with_the_cpu_in_place_of_the_gpu() -> None:
    done = prove("--rehearse", "--json")
    result = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, result["failures"]) == (0, {}), done.stderr
    assert result["tests"]["tests"] >= 3
    assert result["tests"]["skipped"] == 0
    assert len(result["margins_by_batch"]) == 9
    assert len(result["contributions_by_batch"]) == 6
    assert result["loss"]["rehearsal"]["status"] == 1
    assert result["loss"]["none"]["status"] == 2
    assert result["scores"]["events"] == result["scores"]["explained"] == 200


def test_a_machine_without_a_gpu_is_told_what_to_do() -> None:
    done = prove("--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: no CUDA device: make gpu " in done.stderr
    assert "install" in done.stderr


ARITY = {
    "cuInit": 1,
    "cuDevicePrimaryCtxRetain": 2,
    "cuCtxSetCurrent": 1,
    "cuModuleLoadData": 2,
    "cuModuleGetFunction": 3,
    "cuLaunchKernel": 11,
    "cuCtxSynchronize": 0,
    "cuMemAlloc_v2": 2,
}
"""Functions of CUDA's driver and the numbers of their arguments, after CUDA's documentation."""


class Gpu:
    """A GPU with some bytes of memory, behind the driver's functions."""

    def __init__(self, memory: int = 0, **statuses: int) -> None:
        self.free = memory
        self.called: list[str] = []
        self._statuses = statuses

    def __getattr__(self, name: str) -> Callable[..., int]:
        arity = ARITY[name]

        def call(*arguments: Any) -> int:
            assert len(arguments) == arity, name
            self.called.append(name)
            if name == "cuMemAlloc_v2":
                return self._allocate(arguments[1].value)
            return self._statuses.get(name, 0)

        return call

    def _allocate(self, size: int) -> int:
        if size > self.free:
            return 2
        self.free -= size
        return 0


def test_a_kernel_that_fails_is_launched_and_one_that_does_not_is_told() -> None:
    gpu = Gpu(cuCtxSynchronize=719)
    failing.fail_kernel(failing.Driver(gpu))
    assert gpu.called[-2:] == ["cuLaunchKernel", "cuCtxSynchronize"]
    with pytest.raises(RuntimeError, match="should fail"):
        failing.fail_kernel(failing.Driver(Gpu()))


def test_all_memory_is_taken_up_to_the_smallest_block() -> None:
    gpu = Gpu((140 << 30) + 5_000)
    failing.take_memory(failing.Driver(gpu))
    assert gpu.free < 4_096


def test_a_call_that_the_driver_refuses_is_named() -> None:
    with pytest.raises(RuntimeError, match="cuInit returns CUDA error 100"):
        failing.Driver(Gpu(cuInit=100))
