"""Decoder of the records of the labels topic."""

from __future__ import annotations

from typing import Any, cast

from base.errors import RecordError
from features.definition import FeatureSet
from features.loading import LabelRows
from features.loading.label_files import LabelFields
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
        self._paths = {**self._fields.needed, **self._fields.optional}
        self._values = ValueReader(label_source(settings), settings.wire.max_record_bytes)

    def __call__(self, records: Records) -> tuple[LabelRows, dict[int, RecordError]]:
        """Return the labels of N records, and the error, by row, of each other record.

        Raises:
            DependencyUnavailableError: The registry does not answer.
        """
        headers = records.headers or [None] * len(records)
        read = [self._values.read(v, h) for v, h in zip(records.values, headers, strict=True)]
        bad = {row: found for row, found in enumerate(read) if isinstance(found, RecordError)}
        bad |= records.faults
        decoded = decode_rows(
            [{} if row in bad else cast("dict[str, Any]", found) for row, found in enumerate(read)],
            self._paths,
            self._fields.aliases,
            f"topic {records.topic}",
        )
        labels, errors = self._fields.read(
            decoded, len(records), records.partitions, records.offsets
        )
        return labels, {**errors, **bad}
