"""The matrix that models see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.compute.frame import Floats
from features.history.watermarks import LogState
from features.store.protocol import Compaction


@dataclass(frozen=True, slots=True, eq=False)
class Writes:
    """What the online store has to take before a micro-batch is committed.

    appends: a key and the members that its history gains. compactions: histories that hold members
    which no event from here on can see.
    """

    appends: Sequence[tuple[bytes, bytes]] = ()
    compactions: Sequence[Compaction] = ()

    def __bool__(self) -> bool:
        return bool(self.appends or self.compactions)


@dataclass(frozen=True, slots=True, eq=False)
class Enriched:
    """matrix: float32[N, F], C-contiguous, NaN where missing, never infinite.

    flags: uint64[N]; bit i is ``flag_names[i]`` of the feature set. after: the log's state behind
    the batch.
    """

    matrix: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint64]
    writes: Writes = field(default_factory=Writes)
    after: LogState = field(default_factory=LogState)


def count_flags(flags: npt.NDArray[np.uint64], names: Sequence[str]) -> dict[str, int]:
    """Events by flag, where there is any; names: the meaning of bit i."""
    if not flags.any():
        return {}
    return {
        name: int(np.count_nonzero(flags >> np.uint64(bit) & np.uint64(1)))
        for bit, name in enumerate(names)
    }


def assemble(rows: int, columns: Sequence[Floats]) -> npt.NDArray[np.float32]:
    """float32[rows, F] of float64 columns (0-d ones are repeated); the one cast, and the last.

    What is infinite, or too large for a float32, is missing: models give such values a score
    without a word.
    """
    matrix = np.empty((rows, len(columns)), dtype=np.float32)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    # One NaN for all: the sign of a computed one depends on the processor and on the row's place.
    np.copyto(matrix, np.float32(np.nan), where=~np.isfinite(matrix))
    return matrix
