"""Read the column of a file that holds Kafka's timestamp of each record."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ConfigurationError
from schemas.batch import Kind
from schemas.files.values import to_column


def record_times(
    name: str | None, arrays: Mapping[str, pa.Array], rows: int, where: str, first: int
) -> npt.NDArray[np.int64]:
    """Read the timestamps of some rows of a file.

    Args:
        name: The column; None for no timestamps.
        arrays: The file's own values by column.
        rows: How many there are.
        where: The file, in messages.
        first: The number of the first row.

    Returns:
        int64[N] in milliseconds; not positive where there is none: -1 for null, for 0 and less.

    Raises:
        ConfigurationError: the file lacks the column, or a value is no time.
    """
    if name is None:
        return np.full(rows, -1, np.int64)
    if name not in arrays:
        raise ConfigurationError(
            f"--record-time: {where} has no column {name!r}: name the one that holds the "
            "timestamps of the records"
        )
    column, unread = to_column(arrays[name], Kind.TIME, 0, f"column {name!r} of {where}")
    bad = np.flatnonzero(unread)
    for row, value in zip(bad.tolist(), arrays[name].take(pa.array(bad)).to_pylist(), strict=True):
        if not _says_none(value):
            raise ConfigurationError(
                f"--record-time: {where}, row {first + row}: {value!r} in column {name!r} is no "
                "time; give a timestamp, ISO 8601 text or a number since 1970-01-01 UTC (s, ms, us "
                "or ns), and null where the record has none"
            )
    return np.where(column.valid, column.values // 1000, -1)


def _says_none(value: object) -> bool:
    """True if the value stands for no timestamp: Kafka's clients give 0 or less."""
    if isinstance(value, bool):
        return False
    try:
        return float(value) <= 0  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
