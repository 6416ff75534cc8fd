"""The matrix that models see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from base.arrays import Floats, Floats32
from features.history.watermarks import LogState
from features.store.protocol import Writes


@dataclass(frozen=True, slots=True, eq=False)
class Enriched:
    """Features of N events.

    Attributes:
        matrix: float32[N, F], C-contiguous, NaN where missing, never infinite.
        flags: uint64[N], encoded by the `Flags` of the feature set.
        writes: Writes for the online store.
        after: State of the log after the batch.
    """

    matrix: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint64]
    writes: Writes = field(default_factory=Writes)
    after: LogState = field(default_factory=LogState)


def assemble(
    rows: int,
    columns: int,
    places: Mapping[str, int | slice],
    parts: Mapping[str, Floats | Floats32],
) -> npt.NDArray[np.float32]:
    """Build float32[rows, columns].

    This is the only cast to float32. A value that is infinite, or too large for a float32, becomes
    missing: models would score such a value without a warning.

    Args:
        rows: Number of events.
        columns: Number of features.
        places: Column, or slice of columns, by entry of features.yaml.
        parts: float64[rows], or float32[rows, width] of a vector, likewise.
    """
    matrix = np.empty((rows, columns), dtype=np.float32)
    for name, place in places.items():
        matrix[:, place] = parts[name]
    # One NaN for all: the sign of a computed NaN depends on the processor and the row's index.
    np.copyto(matrix, np.float32(np.nan), where=~np.isfinite(matrix))
    return matrix
