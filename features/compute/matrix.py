"""The matrix that models see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from base.arrays import Floats
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


def assemble(rows: int, columns: Sequence[Floats]) -> npt.NDArray[np.float32]:
    """Build float32[rows, F] from float64[rows] columns.

    This is the only cast to float32. A value that is infinite, or too large for a float32, becomes
    missing: models would score such a value without a warning.
    """
    matrix = np.empty((rows, len(columns)), dtype=np.float32)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    # One NaN for all: the sign of a computed NaN depends on the processor and the row's index.
    np.copyto(matrix, np.float32(np.nan), where=~np.isfinite(matrix))
    return matrix
