"""Golden vectors: rows of the matrix with the margins that the model gave when it was written.

They are .npy files of one plain layout: float32, C order, little-endian, never an object array.
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

from base.errors import BundleRefusedError
from models.bundle.manifest import MAX_GOLDEN, Manifest

VECTORS_FILE = "golden_vectors.npy"
MARGINS_FILE = "golden_margins.npy"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Golden vectors and their margins.

    Attributes:
        vectors: float32[G, F], as features give them.
        margins: float32[G].
    """

    vectors: Floats
    margins: Floats

    def files(self) -> dict[str, bytes]:
        """Contents of the golden files of a bundle, by file name."""
        return {VECTORS_FILE: _as_npy(self.vectors), MARGINS_FILE: _as_npy(self.margins)}


def read_golden(files: Mapping[str, bytes], manifest: Manifest, folder: str) -> Golden:
    """Read the golden vectors of a bundle.

    Args:
        files: Contents of the bundle's files, by name.
        manifest: The bundle's manifest.
        folder: The bundle's folder, for messages.

    Raises:
        BundleRefusedError: where files are absent or have another layout, where the number of
            vectors is not the manifest's, and where a vector or margin has an invalid value.
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
    """Refuse arrays that cannot be golden vectors of a model with so many `columns`.

    Raises BundleRefusedError; `where` names the vectors in its message.
    """
    shape = vectors.shape
    if vectors.dtype != np.float32 or len(shape) != 2 or shape[1] != columns:
        raise BundleRefusedError(
            f"{where}: is {vectors.dtype} of shape {shape}; golden vectors are float32, a row "
            f"each, with the model's {columns} columns"
        )
    if not 0 < shape[0] <= MAX_GOLDEN:
        raise BundleRefusedError(f"{where}: holds {shape[0]} vectors; give 1 to {MAX_GOLDEN}")
    if np.isinf(vectors).any():
        raise BundleRefusedError(f"{where}: holds infinite values; NaN means missing")


def score(booster: xgb.Booster, matrix: Floats, missing: float) -> Floats:
    """Margins float32[N] of `matrix` float32[N, F], by all trees, on the booster's device.

    missing: the value that stands for a missing one, besides NaN.
    """
    margins: Floats = booster.inplace_predict(
        nan_for(missing, matrix), predict_type="margin", validate_features=False
    )
    return margins


def nan_for(missing: float, matrix: Floats) -> Floats:
    """The matrix with NaN in place of `missing`; XGBoost takes NaN for missing anyway.

    The matrix itself where `missing` is NaN, else a copy.
    """
    if math.isnan(missing):
        return matrix
    return np.where(matrix == np.float32(missing), np.float32(np.nan), matrix)


def check_margins(found: Floats, golden: Golden, where: str, tolerance: float = 0.0) -> None:
    """Refuse margins that are not the golden ones: bit for bit, or within `tolerance`.

    The tolerance is absolute up to a margin of 1, relative beyond.
    Raises BundleRefusedError; `where` names what computed them.
    """
    if found.shape != golden.margins.shape or found.dtype != np.float32:
        raise BundleRefusedError(
            f"{where}: gives margins of shape {found.shape}, {found.dtype}; "
            f"golden are {len(golden.margins)}, float32"
        )
    differ = found.view(np.uint32) != golden.margins.view(np.uint32)
    if tolerance:
        room = tolerance * np.maximum(1.0, np.abs(golden.margins))
        differ = ~(np.abs(found - golden.margins) <= room)
    if differ.any():
        row = int(np.flatnonzero(differ)[0])
        raise BundleRefusedError(
            f"{where}: gives other margins for {np.count_nonzero(differ)} of {len(differ)} golden "
            f"vectors than when it was written: {found[row]!s} for vector {row}, golden is "
            f"{golden.margins[row]!s}; the model was changed or damaged: write the bundle again"
        )


def _as_npy(array: Floats) -> bytes:
    kept = io.BytesIO()
    np.save(kept, np.ascontiguousarray(array, dtype="<f4"), allow_pickle=False)
    return kept.getvalue()


def _from_npy(content: bytes, shape: tuple[int, ...], where: str) -> Floats:
    """The array of a .npy file, which must have the expected shape and hold nothing else."""
    file = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of the format")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TokenError) as error:
        raise BundleRefusedError(f"{where}: is no .npy file ({error})") from error
    if (found, fortran, dtype) != (shape, False, np.dtype("<f4")):
        raise BundleRefusedError(
            f"{where}: holds {dtype} of shape {found}; the manifest says float32 of shape {shape}"
        )
    data = content[file.tell() :]
    if len(data) != 4 * int(np.prod(shape)):
        raise BundleRefusedError(f"{where}: holds {len(data)} bytes for a shape of {shape}")
    return np.frombuffer(data, dtype="<f4").reshape(shape)
