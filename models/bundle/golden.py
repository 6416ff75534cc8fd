"""Golden vectors: rows of features with the margins that the model gave when it was written.

They are .npy files of a fixed layout: float32, C order, little-endian, never an object array.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from tokenize import TokenError

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from base.arrays import Floats32
from base.errors import BundleRefusedError
from models.bundle.manifest import MAX_GOLDEN, Manifest
from models.class_margin import one_margin

VECTORS_FILE = "golden_vectors.npy"
MARGINS_FILE = "golden_margins.npy"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Golden vectors and their margins.

    Attributes:
        vectors: float32[G, F], feature values in the model's column order.
        margins: float32[G].
    """

    vectors: Floats32
    margins: Floats32

    def files(self) -> dict[str, bytes]:
        """Contents of the golden files of a bundle, by file name."""
        return {VECTORS_FILE: _to_npy(self.vectors), MARGINS_FILE: _to_npy(self.margins)}


def read_golden(files: Mapping[str, bytes], manifest: Manifest, folder: str) -> Golden:
    """Read the golden vectors of a bundle.

    Args:
        files: Contents of the bundle's files, by name.
        manifest: The bundle's manifest.
        folder: The bundle's folder, for messages.

    Raises:
        BundleRefusedError: if a file is missing or has another layout, if the number of vectors is
            not the manifest's, or if a vector or margin has an invalid value.
    """
    for name in (VECTORS_FILE, MARGINS_FILE):
        if name not in files:
            raise BundleRefusedError(f"{folder}: has no {name}; write the bundle again")
    count, columns = manifest.golden, len(manifest.features)
    where = f"{folder}/{VECTORS_FILE}"
    vectors = _from_npy(files[VECTORS_FILE], (count, columns), where)
    margins = _from_npy(files[MARGINS_FILE], (count,), f"{folder}/{MARGINS_FILE}")
    check_vectors(vectors, columns, where)
    if not np.isfinite(margins).all():
        raise BundleRefusedError(f"{folder}/{MARGINS_FILE}: holds margins that are not finite")
    return Golden(vectors, margins)


def check_vectors(vectors: npt.NDArray[np.generic], columns: int, where: str) -> None:
    """Refuse an array that cannot hold golden vectors of a model.

    Args:
        vectors: The array.
        columns: Number of columns of the model.
        where: Name of the vectors in messages.

    Raises:
        BundleRefusedError: for another shape or dtype, and for infinite values.
    """
    shape = vectors.shape
    if vectors.dtype != np.float32 or len(shape) != 2 or shape[1] != columns:
        raise BundleRefusedError(
            f"{where}: is {vectors.dtype} of shape {shape}; golden vectors are float32, one row "
            f"for each vector, with the model's {columns} columns"
        )
    if not 0 < shape[0] <= MAX_GOLDEN:
        raise BundleRefusedError(f"{where}: holds {shape[0]} vectors; give 1 to {MAX_GOLDEN}")
    if np.isinf(vectors).any():
        raise BundleRefusedError(f"{where}: holds infinite values; NaN means missing")


def score(
    booster: xgb.Booster, matrix: Floats32, missing: float, fraud_class: int | None = None
) -> Floats32:
    """Compute margins with all trees, on the booster's device.

    Args:
        booster: The model.
        matrix: float32[N, F].
        missing: Feature value that means missing, besides NaN.
        fraud_class: Class whose log-odds are the margin; None for a model with one output.

    Returns:
        float32[N].
    """
    return one_margin(output_margins(booster, nan_for(missing, matrix)), fraud_class)


def output_margins(booster: xgb.Booster, matrix: Floats32) -> Floats32:
    """Compute the margins of all K outputs, float32[N, K], of float32[N, F], NaN where missing."""
    margins: Floats32 = booster.inplace_predict(
        matrix, predict_type="margin", validate_features=False
    )
    return margins.reshape(len(matrix), -1)


def nan_for(missing: float, matrix: Floats32) -> Floats32:
    """Replace `missing` by NaN, which XGBoost treats as missing.

    Returns:
        A copy; the matrix itself if `missing` is NaN.
    """
    if math.isnan(missing):
        return matrix
    return np.where(matrix == np.float32(missing), np.float32(np.nan), matrix)


def check_margins(margins: Floats32, golden: Golden, where: str, tolerance: float = 0.0) -> None:
    """Refuse margins that differ from the golden ones.

    Args:
        margins: float32[G], margins of the golden vectors.
        golden: The golden vectors and margins.
        where: Name of the source of the margins, for messages.
        tolerance: Largest accepted difference, absolute up to a margin of 1 and relative beyond; 0
            demands equal bits.

    Raises:
        BundleRefusedError: naming the first vector with another margin.
    """
    if margins.shape != golden.margins.shape or margins.dtype != np.float32:
        raise BundleRefusedError(
            f"{where}: gives margins of shape {margins.shape}, {margins.dtype}; "
            f"the golden margins are {len(golden.margins)}, float32"
        )
    differ = margins.view(np.uint32) != golden.margins.view(np.uint32)
    if tolerance:
        allowed = tolerance * np.maximum(1.0, np.abs(golden.margins))
        differ = ~(np.abs(margins - golden.margins) <= allowed)
    if differ.any():
        row = int(np.flatnonzero(differ)[0])
        raise BundleRefusedError(
            f"{where}: gives other margins for {np.count_nonzero(differ)} of {len(differ)} golden "
            f"vectors than when it was written: {margins[row]!s} for vector {row}, where the golden "
            f"margin is {golden.margins[row]!s}; the model was changed or damaged: write the bundle again"
        )


def _to_npy(array: Floats32) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array, dtype="<f4"), allow_pickle=False)
    return file.getvalue()


def _from_npy(content: bytes, shape: tuple[int, ...], where: str) -> Floats32:
    """Read the array of a .npy file, which must have the given shape and nothing after it."""
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of the format")
        actual, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TokenError) as error:
        raise BundleRefusedError(f"{where}: is not a .npy file ({error})") from error
    if (actual, fortran, dtype) != (shape, False, np.dtype("<f4")):
        raise BundleRefusedError(
            f"{where}: holds {dtype} of shape {actual}; the manifest says float32 of shape {shape}"
        )
    data = content[file.tell() :]
    if len(data) != 4 * int(np.prod(shape)):
        raise BundleRefusedError(f"{where}: holds {len(data)} bytes for a shape of {shape}")
    return np.frombuffer(data, dtype="<f4").reshape(shape)
