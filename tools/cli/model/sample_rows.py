"""Rows of a training table for ``fraud-worker model pack --sample``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tools.cli.options import require_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from models.bundle.pack_onnx import SampleRows

_MAX_SAMPLE = 100_000
"""Rows of a sample that are taken: enough to find differences in a few seconds."""


def read_sample(path: Path | None, names: Sequence[str] | None, expected: str | None) -> SampleRows:
    """Read the columns of a table that the model takes, and the expected scores.

    Args:
        path: Value of --sample.
        names: Value of --feature-names, as a list.
        expected: Value of --expected.

    Raises:
        ConfigurationError: An option is missing, or the file does not have what they name.
    """
    import numpy as np

    from base.errors import ConfigurationError
    from models.bundle.pack_onnx import SampleRows

    if path is None:
        raise ConfigurationError(
            "--sample: is needed for a model in ONNX; give some thousand rows of the training table "
            "(features build), from which golden vectors are taken"
        )
    if names is None:
        raise ConfigurationError(
            "--sample: give --feature-names as well; they are the columns of the table, in the order "
            "of the training columns"
        )
    table = _table(path, [*names, *([] if expected is None else [expected])])
    columns = [_numbers(table, name) for name in names]
    vectors = np.column_stack(columns).astype(np.float32)
    if np.isinf(vectors).any():
        raise ConfigurationError(
            f"--sample: {path} holds numbers that are infinite as float32; NaN or null means missing"
        )
    if np.isnan(vectors).all():
        raise ConfigurationError(
            f"--sample: in {path} the columns of --feature-names are missing (NaN or null) in every "
            "row; give rows of the training table (features build) that have values"
        )
    return SampleRows(vectors, None if expected is None else _numbers(table, expected))


def _table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a Parquet file, of rows at equal distances if it has too many.

    The first rows are no sample: in a training table they are the oldest, whose windows are empty.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from base.errors import ConfigurationError
    from base.suggest import unknown

    require_path("--sample", path)
    try:
        known = pq.read_schema(path).names
        for column in columns:
            if column not in known:
                raise ConfigurationError(f"--sample: {path}: {unknown('column', column, known)}")
        table = pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigurationError(f"--sample: {path} cannot be read as Parquet ({error})") from error
    if not len(table):
        raise ConfigurationError(f"--sample: {path} has no rows; give some of the training table")
    taken = min(len(table), _MAX_SAMPLE)
    return table.take(np.arange(taken) * len(table) // taken)


def _numbers(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    import pyarrow as pa

    from base.errors import ConfigurationError

    try:
        numbers: npt.NDArray[np.float64] = table[column].cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigurationError(f"--sample: column {column} is no number ({error})") from error
    return numbers
