"""Models in ONNX in bundles, and how ONNX Runtime computes their margins.

ONNX Runtime promises no equal bits for a row alone and the same row among others: it multiplies a
single row by other code than several, and takes the last elements of an array, or of a thread's
share of it, by other code than those before (its issues 7642 and 10058). So that a score does not
depend on the micro-batch that its event happens to be in, every row is computed in a block of
equally many rows, at the same place in memory and by one thread. `models.sandbox.child` proves that
neither place nor neighbours in the block matter
(docs/explanation/decisions/0034-onnx-in-blocks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from base.arrays import Floats32
from base.errors import BundleRefusedError
from models.bundle.manifest import GraphOutput, Manifest
from models.bundle.onnx_graph import OnnxGraph, import_or_refuse
from models.calibration import log_odds

BLOCK: Final = 64
"""Rows of a block: a multiple of 16, the floats in the widest vector of a CPU."""
REFERENCES: Final = 16
"""Golden vectors after the first that are whole events; contributions compare others with them."""
CPU: Final = "CPUExecutionProvider"
_ALIGNMENT: Final = 64
_OF_FLOATS: Final = frozenset(("tensor(float16)", "tensor(float)", "tensor(double)"))
_BEYOND: Final = 1e-5
"""Rounding that a probability may be below 0 or above 1."""

Provider = str | tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class OnnxModel:
    """A model in ONNX, for a CPU.

    Attributes:
        content: Bytes of the model file.
        output: Output that is the score.
        columns: Number of columns.
        session: Session of ONNX Runtime, which several threads may use.
    """

    FILES: ClassVar = ("model.onnx",)
    TOLERANCE: ClassVar = 1e-4
    """Kinds of CPUs multiply and add in other orders, so last bits of margins differ."""

    content: bytes
    output: GraphOutput
    columns: int
    session: Any

    @staticmethod
    def check(content: bytes, manifest: Manifest, where: str) -> None:
        """Refuse a model file that is invalid or does not belong to the manifest."""
        graph = OnnxGraph(content, where)
        columns, output = graph.check(), _output_of(manifest)
        if (columns, graph.outputs) != (len(manifest.features), [output.name]):
            raise BundleRefusedError(
                f"{where}: has {columns} columns and the outputs {', '.join(graph.outputs)}; the "
                f"manifest says {len(manifest.features)} features and the output {output.name}; "
                "model and manifest do not belong together: write the bundle again"
            )
        if manifest.golden <= REFERENCES:
            raise BundleRefusedError(
                f"{where}: has {manifest.golden} golden vectors, a model in ONNX needs more than "
                f"{REFERENCES}: write the bundle again"
            )

    @classmethod
    def load(cls, content: bytes, manifest: Manifest, where: str) -> Self:
        """Load a model file, which `check` or a child process has accepted."""
        return cls.opened(content, _output_of(manifest), len(manifest.features), where)

    @classmethod
    def opened(cls, content: bytes, output: GraphOutput, columns: int, where: str) -> Self:
        """Open a session for a CPU.

        Raises:
            BundleRefusedError: if ONNX Runtime is not installed, or refuses the model.
        """
        return cls(content, output, columns, open_session(content, where, [CPU]))

    def margins(self, matrix: Floats32) -> Floats32:
        """Compute margins float32[N] of float32[N, F]."""
        return Blocks(self.session, self.output, self.columns).margins(matrix)


class Blocks:
    """A session with a buffer for one block; one thread at a time may use it.

    Attributes:
        rows: Rows of a block.
    """

    def __init__(self, session: Any, output: GraphOutput, columns: int, rows: int = BLOCK) -> None:
        self.rows = rows
        self._session = session
        self._output = output
        self._input = session.get_inputs()[0].name
        self._buffer = _aligned(rows, columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output for one block."""
        shape: tuple[int, ...] = np.shape(self._run(self._buffer[:0]))
        return shape

    def outputs(self, matrix: Floats32) -> Floats32:
        """Compute the output of the graph for float32[N, F], float32[N, …].

        A row for which an operator fails has NaN: Gather, for one, which looks up embeddings,
        raises an error for an index beyond its table.
        """
        starts = range(0, len(matrix), self.rows)
        return np.concatenate([self._part(matrix[start : start + self.rows]) for start in starts])

    def margins(self, matrix: Floats32) -> Floats32:
        """Compute margins float32[N] of float32[N, F]; NaN as in `outputs`."""
        values = self.outputs(matrix)
        fraud = values if values.ndim == 1 else values[:, -1]
        return log_odds(fraud) if self._output.kind == "probability" else fraud.astype(np.float32)

    def _part(self, part: Floats32) -> Floats32:
        """Output of the graph for the rows of a part of a block."""
        try:
            return self._run(part)[: len(part)]
        # ONNX Runtime raises several classes, and does not say for which row.
        except Exception:  # noqa: BLE001
            if len(part) == 1:
                # If zeros fail as well, the cause is not the row, and the error is raised.
                return np.full_like(self._run(part[:0])[:1], np.nan)
        half = len(part) // 2
        return np.concatenate([self._part(part[:half]), self._part(part[half:])])

    def _run(self, part: Floats32) -> Floats32:
        """Output of the graph for a block: the rows of a part, then zeros."""
        self._buffer[: len(part)] = part
        self._buffer[len(part) :] = 0.0
        values: Floats32 = self._session.run([self._output.name], {self._input: self._buffer})[0]
        return values


def check_outputs(model: OnnxModel, matrix: Floats32, where: str) -> int:
    """Refuse a model whose output is not what it is said to be.

    Args:
        model: The model.
        matrix: float32[N, F], events without missing features.
        where: Name of the model in messages.

    Returns:
        Number of values for each event, 1 or 2.

    Raises:
        BundleRefusedError: for an output of another type or shape, and for values that are not
            finite or contradict its kind.
    """
    named = f"{where}: its output {model.output.name}"
    kind = model.session.get_outputs()[0].type
    if kind not in _OF_FLOATS:
        raise BundleRefusedError(
            f"{named} is a {kind}, not a tensor of floats, so it is no score but perhaps the label; "
            "name the output of the probabilities or the log-odds with --output"
        )
    blocks = Blocks(model.session, model.output, model.columns)
    shape = blocks.shape
    if shape[:1] != (BLOCK,) or shape[1:] not in ((), (1,), (2,)):
        dims = ", ".join("N" if dim == BLOCK else str(dim) for dim in shape)
        raise BundleRefusedError(
            f"{named} has the shape [{dims}] for N events; accepted are [N], [N, 1] and, for the "
            "probabilities of both classes, [N, 2]"
        )
    values = blocks.outputs(matrix).reshape(len(matrix), -1)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        features = ", ".join(f"{value:.6g}" for value in matrix[wrong[0]].tolist())
        raise BundleRefusedError(
            f"{named} is {values[wrong[0]]} for the features [{features}], of which none is missing; "
            "if no event is like this one, give rows of the training table with --sample"
        )
    low, high, both = float(values.min()), float(values.max()), shape[1:] == (2,)
    sums_to_one = np.allclose(values.sum(axis=1), 1.0, atol=1e-3) if both else True
    is_probability = low >= -_BEYOND and high <= 1.0 + _BEYOND and sums_to_one
    if model.output.kind == "probability" and not is_probability:
        raise BundleRefusedError(
            f"{named} has values from {low:.4g} to {high:.4g}, which are no probabilities"
            f"{' of two classes' if both else ''}; if it is the log-odds, give --margin; else name "
            "the output of the probabilities with --output"
        )
    if model.output.kind == "margin" and is_probability:
        raise BundleRefusedError(
            f"{named} has values from {low:.4g} to {high:.4g}, all between 0 and 1, so it is a "
            "probability and no log-odds; give --probability"
        )
    if model.output.kind == "margin" and both:
        raise BundleRefusedError(
            f"{named} has two values for each event, and a margin is one; give --probability if they "
            "are the probabilities of both classes, else export their difference as the output"
        )
    return 2 if both else 1


def open_session(content: bytes, where: str, providers: Sequence[Provider]) -> Any:
    """Open a session of ONNX Runtime that computes with the calling thread only.

    A session with more threads would divide arrays among them, and bits would depend on their
    number. With one there is no thread that waits for work, which in ONNX Runtime spins.

    Raises:
        BundleRefusedError: if ONNX Runtime is not installed, or refuses the model.
    """
    runtime = import_or_refuse("onnxruntime", where)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Else bytes 4 to 7 may say that it is in ONNX Runtime's own format, which `OnnxGraph` reads
    # otherwise, or not at all.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if CPU not in (each if isinstance(each, str) else each[0] for each in providers):
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        return runtime.InferenceSession(content, options, providers=list(providers))
    # ONNX Runtime raises several classes, which have no other common base.
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise BundleRefusedError(
            f"{where}: ONNX Runtime {runtime.__version__} cannot load it ({message}); export the "
            "model again"
        ) from error


def _output_of(manifest: Manifest) -> GraphOutput:
    if manifest.output is None:
        raise TypeError("a manifest of this format has an output")
    return manifest.output


def _aligned(rows: int, columns: int) -> Floats32:
    """Zeros float32[rows, columns] that begin at a multiple of 64 bytes."""
    size = 4 * rows * columns
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(rows, columns)
