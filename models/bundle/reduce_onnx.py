"""Reduce a model in ONNX to its score, test how it treats rows, and compute golden margins.

This runs in a child process (`models.sandbox.child`), because a model file may exhaust memory and
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from base.arrays import Floats32, Mask
from base.errors import BundleRefusedError
from models.bundle.golden import Golden
from models.bundle.manifest import GraphOutput
from models.bundle.onnx_graph import OnnxGraph
from models.bundle.onnx_model import REFERENCES, OnnxModel, check_outputs
from models.bundle.pack_onnx import MODEL_FILE, SampleRows, read_request
from models.bundle.sums import MAX_BUNDLE_BYTES, read_plain
from models.calibration import logistic

AGREEMENT = 1e-5
"""Largest difference from the scores of the library that trained the model."""
_MISSING = 0.1
_EXTREME = 1e30
_IMPUTE = (
    "make the treatment of missing values a part of the graph (scikit-learn: a pipeline that begins "
    "with SimpleImputer; PyTorch: torch.where(torch.isnan(x), fill, x)), and export it again"
)

_NOT_COMPARED = (
    "the scores were not compared with those of the library that trained the model; --expected does"
)


def reduce_onnx(path: Path, folder: Path) -> dict[str, Any]:
    """Check a model file, and write the reduced model and its golden vectors.

    Args:
        path: The model file.
        folder: Folder with the request, where the files are written.

    Returns:
        Name of the output, number of columns, and notes for the model's owner.

    Raises:
        BundleRefusedError: naming the fault and the remedy.
    """
    request, sample = read_request(folder)
    where = str(path)
    graph = OnnxGraph(read_plain(path, MAX_BUNDLE_BYTES), where)
    output = GraphOutput(name=graph.reduce(request["output"]), kind=request["kind"])
    columns = graph.check()
    content = graph.as_bytes()
    model = OnnxModel.opened(content, output, columns, where)
    if sample.vectors.shape[1] != columns:
        raise BundleRefusedError(
            f"{where}: has {columns} columns, and {sample.vectors.shape[1]} feature names were "
            "given; give one for each, in the order of the training columns"
        )
    vectors = _vectors(np.random.default_rng(request["seed"]), request["golden"], sample)
    values = check_outputs(model, np.nan_to_num(vectors), where)
    _check_missing(model, vectors, where)
    _check_rows(model, vectors, where)
    notes = _compared(model, sample, where)
    if values == 2:
        notes.insert(0, _of_second_class(graph.labels))
    (folder / MODEL_FILE).write_bytes(content)
    for name, part in Golden(vectors, model.margins(vectors)).files().items():
        (folder / name).write_bytes(part)
    return {"output": output.name, "columns": columns, "notes": notes}


def _vectors(random: np.random.Generator, count: int, sample: SampleRows) -> Floats32:
    """Golden vectors float32[count, F]: rows of the sample, most of them with further gaps.

    In the first row all features are missing; the next `REFERENCES` rows are as they are.
    """
    golden: Floats32 = sample.vectors[random.integers(0, len(sample.vectors), count)]
    gaps = random.random(golden.shape) < _MISSING
    gaps[: REFERENCES + 1] = False
    golden[gaps] = np.nan
    golden[0] = np.nan
    return golden


def _check_missing(model: OnnxModel, vectors: Floats32, where: str) -> None:
    """Refuse a model that gives no number if a feature is missing, or all of them."""
    every = np.full(vectors.shape[1], np.nan, np.float32)
    one = np.tile(np.nan_to_num(vectors[-1]), (len(every), 1))
    np.fill_diagonal(one, np.nan)
    for what, rows in (("a feature", one), ("every feature", every[None]), ("some", vectors)):
        wrong = np.flatnonzero(~np.isfinite(model.margins(rows)))
        if len(wrong):
            which = f" (column {wrong[0] + 1} of {len(every)})" if what == "a feature" else ""
            raise BundleRefusedError(
                f"{where}: gives no finite number if {what} is missing (NaN){which}; {_IMPUTE}"
            )


def _check_rows(model: OnnxModel, vectors: Floats32, where: str) -> None:
    """Refuse a model in which the score of an event depends on others, or on chance."""
    alone = np.concatenate([model.margins(row[None]) for row in vectors])
    moved = np.roll(model.margins(np.roll(vectors, 1, axis=0)), -1)
    extremes = [_beside(model, vectors, extreme) for extreme in (_EXTREME, -_EXTREME)]
    for among in (model.margins(vectors), moved, *extremes):
        differ = np.flatnonzero(_differ(alone, among))
        if len(differ):
            raise BundleRefusedError(
                f"{where}: gives {among[differ[0]]:.9g} for an event among others, and "
                f"{alone[differ[0]]:.9g} for it alone: its operators mix the events of a batch, such "
                "as a mean, a softmax or a normalisation over the first axis; export a model that "
                "treats each event by itself"
            )


def _beside(model: OnnxModel, vectors: Floats32, extreme: float) -> Floats32:
    """Margins of vectors float32[N, F] among events all of whose features are extreme."""
    margins = np.empty(len(vectors), np.float32)
    for first in (0, 1):
        rows = np.full_like(vectors, extreme)
        rows[first::2] = vectors[first::2]
        margins[first::2] = model.margins(rows)[first::2]
    return margins


def _differ(one: Floats32, other: Floats32) -> Mask:
    differ: Mask = one.view(np.uint32) != other.view(np.uint32)
    return differ


def _of_second_class(labels: Sequence[str]) -> str:
    """Note that says which of two probabilities is the score."""
    named = f", {labels[1]} of {' and '.join(labels)}" if len(labels) == 2 else ""
    return f"the score is the probability of the second class{named}; that must be fraud"


def _compared(model: OnnxModel, sample: SampleRows, where: str) -> list[str]:
    """Compare scores of the sample with the expected ones; return notes for the model's owner."""
    if sample.expected is None:
        return [_NOT_COMPARED]
    margins = model.margins(sample.vectors)
    scores = logistic(margins) if model.output.kind == "probability" else margins
    allowed = AGREEMENT * np.maximum(1.0, np.abs(sample.expected))
    difference = np.abs(scores - sample.expected)
    wrong = np.flatnonzero(~(difference <= allowed))
    if len(wrong):
        row = int(wrong[np.argmax(difference[wrong])])
        raise BundleRefusedError(
            f"{where}: differs from --expected by more than {AGREEMENT:g} on {len(wrong):,} of "
            f"{len(margins):,} rows, most on row {row} of those taken: {scores[row]:.9g}, where "
            f"{sample.expected[row]:.9g} is expected. A converter may round thresholds of trees to "
            "float32, so that events at a threshold take the other branch: train on float32 "
            "features, or pack without --expected to accept the difference"
        )
    largest = float(difference.max(initial=0.0))
    return [f"differs from the expected scores of {len(margins):,} rows by at most {largest:.2g}"]
