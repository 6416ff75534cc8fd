"""Files of labels: who was a fraud, and when that was known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from features.definition import FeatureSet
from features.labels.fields import LabelFields
from features.labels.rows import FILE_PARTITION, LabelRows
from features.refusal import Refusal
from schemas.files import count_rows, read_chunks


class LabelFile:
    """Labels in Parquet, an Avro container or JSON lines; fields as ``LabelFields`` finds them."""

    def __init__(self, feature_set: FeatureSet, path: Path) -> None:
        self._path = path
        self._fields = LabelFields(feature_set)

    def count(self) -> int:
        """Rows. Raises ConfigurationError for a file that cannot be read."""
        return count_rows(self._path)

    def __iter__(self) -> Iterator[tuple[LabelRows, list[Refusal]]]:
        """Some labels, and the rows around them that are none.

        Raises ConfigurationError for a file that cannot be read, or says nothing of frauds.
        """
        fields, first = self._fields, 0
        for chunk in read_chunks(
            self._path, fields.needed, fields.aliases, optional=fields.optional
        ):
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
