"""Fields of a label, under the names that a feature set has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ErrorCode, RecordError
from features.definition import FeatureSet
from features.loading.label_rows import UNKNOWN, LabelRows, Longs
from features.values import column_values as columns
from schemas.batch import Column, Decoded, Kind
from schemas.files.read import Aliases, PathTypes

_KEY = "entity_keys."


class LabelFields:
    """Reader of labels from decoded columns.

    A field has its name in ``label.avsc``, the name that events have for it, or that name's alias.
    An entity's key may also have the entity's name. So a file of events with a label column is a
    file of labels, and so is a table of ``features build``.
    """

    def __init__(self, feature_set: FeatureSet) -> None:
        bindings = feature_set.bindings

        def names(*paths: str) -> tuple[str, ...]:
            aliases = [feature_set.aliases[path] for path in paths if path in feature_set.aliases]
            return (*paths, *aliases)

        self.needed: PathTypes = {
            "event_id": (bindings.event_id.kind, 0, False),
            "fraud": (Kind.BOOL, 0, False),
        }
        keys = {f"{_KEY}{entity}": field for entity, field in bindings.entities.items()}
        self.optional: PathTypes = {
            "event_time": (Kind.TIME, 0, True),
            "label_time": (Kind.TIME, 0, True),
            **{key: (field.kind, 0, True) for key, field in keys.items()},
        }
        self.aliases: Aliases = {
            "event_id": names(bindings.event_id.path),
            "event_time": names(bindings.event_time.path),
            # `label`: in a table of `features build`.
            "fraud": (*(names(bindings.label.field) if bindings.label else ()), "label"),
            **{k: (k.removeprefix(_KEY), *names(field.path)) for k, field in keys.items()},
        }

    def read(
        self, decoded: Decoded, rows: int, partitions: npt.NDArray[np.int32], offsets: Longs
    ) -> tuple[LabelRows, dict[int, RecordError]]:
        """Read the labels of N rows at their positions; return an error for each invalid row."""
        found = dict(decoded.columns)
        errors = dict(decoded.errors)
        for name, (kind, _, _) in self.needed.items():
            found.setdefault(name, _nothing(kind, rows))
        event_id, fraud = found["event_id"], found["fraud"]
        ids = columns.text(event_id, "event_id")
        no_id = RecordError(ErrorCode.EVENT_ID_MISSING, "the event id is null or empty")
        no_fraud = RecordError(ErrorCode.BODY_INVALID, "fraud is null")
        for row in np.flatnonzero(~event_id.valid | (columns.byte_lengths(ids) == 0)).tolist():
            errors.setdefault(row, no_id)
        for row in np.flatnonzero(~fraud.valid).tolist():
            errors.setdefault(row, no_fraud)
        labels = LabelRows(
            ids,
            np.asarray(fraud.values, np.bool_),
            _times(found.get("event_time"), rows),
            _times(found.get("label_time"), rows),
            _keys(found),
            partitions,
            offsets,
        )
        if not errors:
            return labels, errors
        return labels.take(np.setdiff1d(np.arange(rows), list(errors)).astype(np.intp)), errors


def _keys(found: Mapping[str, Column]) -> dict[str, pa.StringArray]:
    return {
        name.removeprefix(_KEY): columns.text(column, name)
        for name, column in found.items()
        if name.startswith(_KEY)
    }


def _times(column: Column | None, rows: int) -> Longs:
    if column is None:
        return np.full(rows, UNKNOWN)
    return np.where(column.valid, np.asarray(column.values, np.int64), UNKNOWN)


def _nothing(kind: Kind, rows: int) -> Column:
    values: Any = pa.array([""] * rows, pa.string())
    if kind is not Kind.STRING:
        values = np.zeros(rows, np.bool_ if kind is Kind.BOOL else np.int64)
    return Column(kind, values, np.zeros(rows, np.bool_))
