"""Decoder of the records of the labels topic."""

from __future__ import annotations

from typing import Any

import numpy as np

from base.errors import RecordError
from features.definition import FeatureSet
from features.loading import LabelRows
from features.loading.label_files import LabelFields
from features.loading.label_rows import concat
from schemas.avro.raw_values import ValueReader
from schemas.batch import Records
from schemas.files.read import decode_rows
from worker.schema_sources import label_source
from worker.settings import WorkerSettings


class LabelDecoder:
    """Decode records to labels, each at its own position; any schema with a label's fields will do.

    Args:
        feature_set: Feature set that binds the fields of events.
        settings: Settings of the worker.

    Raises:
        ConfigurationError: Schemas or registry settings are invalid.
    """

    def __init__(self, feature_set: FeatureSet, settings: WorkerSettings) -> None:
        self._fields = LabelFields(feature_set)
        self._entities = tuple(feature_set.bindings.entities)
        self._paths = {**self._fields.needed, **self._fields.optional}
        self._values = ValueReader(label_source(settings), settings.wire.max_record_bytes)

    def __call__(self, records: Records) -> tuple[LabelRows, dict[int, RecordError]]:
        """Return the labels of N records, and the error, by row, of each other record.

        Raises:
            DependencyUnavailableError: The registry does not answer.
        """
        headers = records.headers or [None] * len(records)
        errors = dict(records.faults)
        shapes: dict[object, list[tuple[int, dict[str, Any]]]] = {}
        for row, (value, header) in enumerate(zip(records.values, headers, strict=True)):
            read = self._values.read(value, header)
            if row in errors:
                continue
            if isinstance(read, RecordError):
                errors[row] = read
            else:
                shapes.setdefault(self._shape(read), []).append((row, read))
        parts, rows = list[LabelRows](), list[int]()
        for found in shapes.values():
            places = np.array([row for row, _ in found])
            decoded = decode_rows(
                [read for _, read in found],
                self._paths,
                self._fields.aliases,
                f"topic {records.topic}",
            )
            labels, invalid = self._fields.read(
                decoded, len(found), records.partitions[places], records.offsets[places]
            )
            parts.append(labels)
            rows += np.delete(places, list(invalid)).tolist()
            errors |= {int(places[index]): error for index, error in invalid.items()}
        labels = concat(parts, self._entities)
        return (labels if len(parts) < 2 else labels.take(np.argsort(rows))), errors

    def _shape(self, read: dict[str, Any]) -> object:
        """Names that a record has: it must not matter which names others beside it have."""
        keys = read.get("entity_keys")
        inner = [e for e in self._entities if e in keys] if isinstance(keys, dict) else ()
        return (*read, None, *inner)
