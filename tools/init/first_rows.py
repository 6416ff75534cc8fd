"""First rows of a file of events."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from base.arrays import Mask
from base.errors import ConfigurationError
from base.file_path import FilePath
from schemas.files.arrow_values import valid_mask
from schemas.files.avro_container import open_container
from schemas.files.read import read_stored

MAX_ROWS = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class FirstRows:
    """The first rows of a file.

    Attributes:
        path: The file.
        rows: Number of rows, N.
        whole: True if the file has no more rows.
        columns: array[N] of the stored values, by dotted name in the file.
        declared: Schema of an Avro container, as JSON; None for other formats.
    """

    path: FilePath
    rows: int
    whole: bool
    columns: dict[str, pa.Array]
    declared: Any

    @property
    def extent(self) -> str:
        """The rows that were read, in words."""
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        return rows if self.whole else f"the first {rows}"


def read_sample(path: FilePath, limit: int = MAX_ROWS) -> FirstRows:
    """Read the first ``limit`` rows of a file of events.

    Rows without any value, such as lines that are no JSON object, are left out.

    Raises:
        ConfigurationError: The file cannot be read, or has no rows.
    """
    parts: list[dict[str, pa.Array]] = []
    rows = 0
    # One row more than wanted tells whether there are more.
    with closing(read_stored(path, limit + 1)) as chunks:
        for chunk in chunks:
            parts.append(chunk.arrays)
            rows += chunk.rows
            if rows > limit:
                break
    names = parts[0] if parts else {}
    columns = {name: _joined([part[name] for part in parts]).slice(0, limit) for name in names}
    kept = np.zeros(min(rows, limit), np.bool_)
    for array in columns.values():
        kept |= valid_mask(array)
    if not kept.any():
        raise ConfigurationError(
            f"--sample: {path} has no rows with values to guess from; give a file of some thousand "
            "events, or --schema FILE.avsc"
        )
    return FirstRows(
        path, int(kept.sum()), rows <= limit, _filtered(columns, kept), _declared_schema(path)
    )


def _joined(arrays: list[pa.Array]) -> pa.Array:
    if pa.types.is_dictionary(arrays[0].type):
        arrays = [array.dictionary_decode() for array in arrays]
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _filtered(columns: dict[str, pa.Array], kept: Mask) -> dict[str, pa.Array]:
    if kept.all():
        return columns
    mask = pa.array(kept)
    return {name: array.filter(mask) for name, array in columns.items()}


def _declared_schema(path: FilePath) -> Any:
    if path.suffix.lower() != ".avro":
        return None
    with open_container(path) as container:
        return container.declared
