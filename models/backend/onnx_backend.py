"""Models in ONNX on a CPU or an NVIDIA GPU, by ONNX Runtime."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import cached_property
from typing import Any, Final

import numpy as np

from base.errors import BundleRefusedError, CudaUnusableError
from models.backend.cuda import on_gpu
from models.backend.protocol import Contributions, Margins, Matrix, check_matrix
from models.backend.sampled_shapley import SampledShapley
from models.bundle import Bundle
from models.bundle.onnx_graph import import_or_refuse
from models.bundle.onnx_model import REFERENCES, Blocks, OnnxModel, open_session

CUDA = "CUDAExecutionProvider"
_CUDA_OPTIONS: Final = {"device_id": "0", "use_tf32": "0"}
"""Options of the provider: the first GPU, and no products with the 10 bits of TF32."""
_CUDA_BLOCK: Final = 1_024
"""Rows of a block on a GPU, where a call costs more and a row less."""


class OnnxBackend:
    """A model on the CPU. Each thread computes whole blocks, so margins do not depend on them."""

    device = "cpu"

    def __init__(self, model: OnnxModel, bundle: Bundle, threads: int) -> None:
        self._names = [feature.name for feature in bundle.features]
        self._references = bundle.golden.vectors[1 : 1 + REFERENCES]
        self._blocks = self._open(model, threads)
        self._block = self._blocks[0].rows
        self._pool = ThreadPoolExecutor(len(self._blocks), "onnx")
        # The buffers serve one micro-batch at a time.
        self._lock = threading.Lock()
        # The first call allocates the memory of the graph, so it is made before the first event.
        self.margins(np.full((1, len(self._names)), np.nan, np.float32))

    def margins(self, matrix: Matrix) -> Margins:
        check_matrix(matrix, self._names)
        if not len(matrix):
            return np.empty(0, np.float32)
        with self._lock:
            return self._computed(matrix)

    def contributions(self, matrix: Matrix) -> Contributions:
        check_matrix(matrix, self._names)
        return self._shapley(self.margins, matrix)

    @cached_property
    def _shapley(self) -> SampledShapley:
        return SampledShapley(self.margins, self._references)

    def _open(self, model: OnnxModel, threads: int) -> list[Blocks]:
        return [Blocks(model.session, model.output, model.columns) for _ in range(threads)]

    def _computed(self, matrix: Matrix) -> Margins:
        blocks = -(-len(matrix) // self._block)
        threads = min(len(self._blocks), blocks)
        if threads == 1:
            return self._blocks[0].margins(matrix)
        step = self._block * -(-blocks // threads)
        shares = [matrix[start : start + step] for start in range(0, len(matrix), step)]
        return np.concatenate(list(self._pool.map(Blocks.margins, self._blocks, shares)))


class OnnxCudaBackend(OnnxBackend):
    """A model on the first visible GPU; its methods raise DeviceLostError if the GPU fails."""

    device = "cuda"

    def _open(self, model: OnnxModel, threads: int) -> list[Blocks]:  # noqa: ARG002  one for the GPU
        session = _open_on_gpu(model)
        return [Blocks(session, model.output, model.columns, _CUDA_BLOCK)]

    def _computed(self, matrix: Matrix) -> Margins:
        with on_gpu():
            return super()._computed(matrix)


def _open_on_gpu(model: OnnxModel) -> Any:
    """Open a session whose operators all run on the GPU.

    ONNX Runtime by itself would use the CPU for those that it cannot run there, or for all.

    Raises:
        CudaUnusableError: naming what is missing, and the remedy.
    """
    runtime = import_or_refuse("onnxruntime", "device: cuda")
    if CUDA not in runtime.get_available_providers():
        raise CudaUnusableError(
            "device: cuda needs an ONNX Runtime with CUDA, this one has none; install the extra "
            "`onnx-gpu` instead of `onnx`, or set device: cpu"
        )
    with redirect_stdout(sys.stderr):  # it prints the libraries that it does not find
        runtime.preload_dlls()
    try:
        session = open_session(model.content, "device: cuda", [(CUDA, _CUDA_OPTIONS)])
    except BundleRefusedError as error:
        raise CudaUnusableError(
            f"{error}, or set device: cpu; tree ensembles and other operators of ai.onnx.ml run on a "
            "CPU only"
        ) from error
    if session.get_providers()[0] != CUDA:
        raise CudaUnusableError(
            "device: cuda found no GPU that ONNX Runtime can use; install NVIDIA's driver, give the "
            "container a GPU (`nvidia-smi` lists driver and GPUs), or set device: cpu"
        )
    return session
