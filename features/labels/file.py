"""Files of labels: who was a fraud, and when that was known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features import columns
from features.build.events import Refusal
from features.definition import FeatureSet
from features.labels.rows import FILE_PARTITION, UNKNOWN, LabelRows
from schemas.batch import Column, Kind
from schemas.errors import ErrorCode
from schemas.files import CHUNK_ROWS, FileChunk, read_chunks

Longs = npt.NDArray[np.int64]

_KEY = "entity_keys."


class LabelFile:
    """Labels in Parquet, an Avro container or JSON lines, with the fields of ``label.avsc``.

    A field is found under its own name, or under the name that events have for it, or that name's
    alias; an entity's key under the entity's name too. A file of events with a label column is a
    file of labels.
    """

    def __init__(self, feature_set: FeatureSet, path: Path) -> None:
        self._path = path
        bindings = feature_set.bindings

        def names(*paths: str) -> tuple[str, ...]:
            aliases = [feature_set.aliases[path] for path in paths if path in feature_set.aliases]
            return (*paths, *aliases)

        self._aliases = {
            "event_id": names(bindings.event_id.path),
            "event_time": names(bindings.event_time.path),
            "fraud": names(bindings.label.field) if bindings.label else (),
            **{
                f"{_KEY}{entity}": (entity, *names(field.path))
                for entity, field in bindings.entities.items()
            },
        }
        self._kinds = {entity: field.kind for entity, field in bindings.entities.items()}
        self._id_kind = bindings.event_id.kind

    def __iter__(self) -> Iterator[tuple[LabelRows, list[Refusal]]]:
        """Some labels, and the rows around them that are none.

        Raises ConfigurationError for a file that cannot be read, or says nothing of frauds.
        """
        needed = {"event_id": (self._id_kind, 0, False), "fraud": (Kind.BOOL, 0, False)}
        optional: dict[str, Any] = {
            "event_time": (Kind.TIME, 0, True),
            "label_time": (Kind.TIME, 0, True),
            **{f"{_KEY}{e}": (kind, 0, True) for e, kind in self._kinds.items()},
        }
        first = 0
        for chunk in read_chunks(self._path, needed, self._aliases, CHUNK_ROWS, optional):
            yield self._rows(chunk, first)
            first += chunk.rows

    def _rows(self, chunk: FileChunk, first: int) -> tuple[LabelRows, list[Refusal]]:
        found = chunk.decoded.columns
        errors = {row: (e.code.value, e.message) for row, e in chunk.decoded.errors.items()}
        event_id = columns.text(found["event_id"], "event_id")
        for row in np.flatnonzero(columns.byte_lengths(event_id) == 0).tolist():
            errors.setdefault(row, (ErrorCode.EVENT_ID_MISSING.value, "the event id is empty"))
        rows = LabelRows(
            event_id,
            np.asarray(found["fraud"].values, np.bool_),
            _times(found.get("event_time"), chunk.rows),
            _times(found.get("label_time"), chunk.rows),
            {
                name.removeprefix(_KEY): columns.text(column, name)
                for name, column in found.items()
                if name.startswith(_KEY)
            },
            np.full(chunk.rows, FILE_PARTITION, np.int32),
            first + np.arange(chunk.rows),
        )
        good = np.setdiff1d(np.arange(chunk.rows), list(errors)).astype(np.intp)
        return rows.take(good) if errors else rows, [
            Refusal(f"{self._path}, row {first + row}", code, message)
            for row, (code, message) in sorted(errors.items())
        ]


def _times(column: Column | None, rows: int) -> Longs:
    if column is None:
        return np.full(rows, UNKNOWN)
    return np.where(column.valid, np.asarray(column.values, np.int64), UNKNOWN)
