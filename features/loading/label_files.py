"""Files of labels: fraud or not, and the time at which that was known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.loading.label_fields import LabelFields
from features.loading.label_rows import FILE_PARTITION, LabelRows
from features.tables.refusal import Refusal
from schemas.files.read import FileChunk, count_rows, read_chunks


class LabelFile:
    """Labels in Parquet, an Avro container or JSON lines; fields as in ``LabelFields``."""

    def __init__(self, feature_set: FeatureSet, path: Path) -> None:
        self._path = path
        self._fields = LabelFields(feature_set)

    def count(self) -> int:
        """Number of rows. Raises ConfigurationError for a file that cannot be read."""
        with _of_labels():
            return count_rows(self._path)

    def __iter__(self) -> Iterator[tuple[LabelRows, list[Refusal]]]:
        """Iterate over labels in chunks, each with its rows that are not labels.

        Raises:
            ConfigurationError: The file cannot be read, or has no column that says fraud or not.
        """
        fields, first = self._fields, 0
        for chunk in self._chunks():
            partitions = np.full(chunk.rows, FILE_PARTITION, np.int32)
            offsets = first + np.arange(chunk.rows)
            labels, errors = fields.read(chunk.decoded, chunk.rows, partitions, offsets)
            yield (
                labels,
                [
                    Refusal(f"{self._path}, row {first + row}", error.code.value, error.message)
                    for row, error in sorted(errors.items())
                ],
            )
            first += chunk.rows

    def _chunks(self) -> Iterator[FileChunk]:
        fields = self._fields
        with _of_labels():
            yield from read_chunks(
                self._path, fields.needed, fields.aliases, optional=fields.optional
            )


@contextmanager
def _of_labels() -> Iterator[None]:
    """Make the errors of the file, which is read as events are, speak of labels."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("event file ", "label file ", 1)) from error
