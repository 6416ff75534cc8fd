"""The column of a file that holds what Kafka's timestamp of each record was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.batch import Kind
from schemas.errors import ConfigurationError
from schemas.file_values import to_column


def record_times(
    name: str | None, arrays: Mapping[str, pa.Array], rows: int, where: str
) -> npt.NDArray[np.int64]:
    """int64[N] in milliseconds, -1 where there is none, or no name of a column.

    Raises ConfigurationError where the file lacks the column, or it holds no times.
    """
    if name is None:
        return np.full(rows, -1, np.int64)
    if name not in arrays:
        raise ConfigurationError(
            f"--record-time: {where} has no column {name!r}: name the one that holds the timestamps "
            "of the records"
        )
    column, _ = to_column(arrays[name], Kind.TIME, 0, f"column {name!r} of {where}")
    return np.where(column.valid, column.values // 1000, -1)
