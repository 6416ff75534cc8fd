"""Labels as their sources give them, and the complete labels among them.

A source may lack fields: a label gets the time and keys of its event from the event itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs, Mask, RowErrors, Rows, byte_lengths
from base.errors import ConfigurationError, ErrorCode, RecordError
from features.compute.bind import EARLIEST, LATEST
from features.definition import FeatureSet
from features.history.labels import LabelBatch

UNKNOWN = np.iinfo(np.int64).min
"""Sentinel for a missing time."""
FILE_PARTITION = -1
"""Partition of events and labels from files; their offsets are row numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelRows:
    """N labels.

    Attributes:
        event_id: StringArray[N].
        fraud: bool[N].
        event_time: int64[N], microseconds since 1970-01-01 UTC, UNKNOWN where missing.
        label_time: int64[N], microseconds since 1970-01-01 UTC, UNKNOWN where missing.
        entity_keys: StringArray[N] by entity, "" where missing; an entity may be absent.
        partitions: int32[N], partition of the label itself.
        offsets: int64[N], offset of the label itself.
        source: StringArray[N], origin of the label, "" where missing; None if it was not read.
    """

    event_id: pa.StringArray
    fraud: Mask
    event_time: Longs
    label_time: Longs
    entity_keys: Mapping[str, pa.StringArray]
    partitions: npt.NDArray[np.int32]
    offsets: Longs
    source: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def keys(self, entity: str) -> pa.StringArray:
        """StringArray[N], "" where missing."""
        keys = self.entity_keys.get(entity)
        return pa.array([""] * len(self), pa.string()) if keys is None else keys

    def take(self, rows: Rows) -> Self:
        """The labels at ``rows``, in their order."""
        places = pa.array(rows)
        return type(self)(
            self.event_id.take(places),
            self.fraud[rows],
            self.event_time[rows],
            self.label_time[rows],
            {entity: keys.take(places) for entity, keys in self.entity_keys.items()},
            self.partitions[rows],
            self.offsets[rows],
            None if self.source is None else self.source.take(places),
        )


def concat(parts: Sequence[LabelRows], entities: Iterable[str]) -> LabelRows:
    """Concatenate labels without their sources; a key of ``entities`` that a part lacks is ""."""
    nothing = np.empty(0, np.int64)
    none = LabelRows(
        pa.array([], pa.string()),
        nothing > 0,
        nothing,
        nothing,
        {},
        nothing.astype(np.int32),
        nothing,
    )
    parts = [none, *parts]
    return LabelRows(
        pa.concat_arrays([part.event_id for part in parts]),
        np.concatenate([part.fraud for part in parts]),
        np.concatenate([part.event_time for part in parts]),
        np.concatenate([part.label_time for part in parts]),
        {entity: pa.concat_arrays([part.keys(entity) for part in parts]) for entity in entities},
        np.concatenate([part.partitions for part in parts]),
        np.concatenate([part.offsets for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class WholeLabels:
    """Complete labels, and errors of the others.

    A label that is not a fraud and has no label time is in neither: an event without a label is not
    a fraud anyway, and a label that withdraws another one needs a later time.

    Attributes:
        labels: Labels for the store.
        errors: Missing or invalid field of the other labels, by row.
    """

    labels: LabelBatch
    errors: dict[int, RecordError]


def whole_labels(feature_set: FeatureSet, rows: LabelRows) -> WholeLabels:
    """Select those of N labels that have their event's time and keys.

    Raises:
        ConfigurationError: A label has no label time and there is no label delay.
    """
    errors = RowErrors()
    time = rows.event_time
    errors.add(time == UNKNOWN, ErrorCode.EVENT_TIME_MISSING, "the event time is missing")
    errors.add(
        (time < EARLIEST) | (time >= LATEST),
        ErrorCode.EVENT_TIME_OUT_OF_RANGE,
        "the event time is not between 2000 and 2100 (is its unit right?)",
    )
    keys = {entity: rows.keys(entity) for entity in feature_set.labelled_entities}
    for entity, values in keys.items():
        errors.add(
            byte_lengths(values) == 0,
            ErrorCode.ENTITY_KEY_MISSING,
            f"the key of {entity} is null or empty",
        )
    telling = rows.fraud | (rows.label_time != UNKNOWN)
    good = np.setdiff1d(np.flatnonzero(telling), list(errors.by_row)).astype(np.intp)
    taken = rows.take(good)
    labels = LabelBatch(
        taken.event_id,
        taken.event_time,
        {entity: values.take(pa.array(good)) for entity, values in keys.items()},
        taken.fraud,
        known_from(feature_set, taken.event_time, taken.label_time),
        taken.partitions,
        taken.offsets,
    )
    return WholeLabels(labels, errors.by_row)


def known_from(feature_set: FeatureSet, event_time: Longs, label_time: Longs) -> Longs:
    """Time from which each label counts, int64[N]: its label time, else event time + delay.

    Raises:
        ConfigurationError: A label has no label time and there is no label delay.
    """
    missing = label_time == UNKNOWN
    if not missing.any():
        return label_time
    label = feature_set.bindings.label
    if label is None:
        raise ConfigurationError(
            "labels without a label time count from the event time plus events.label.delay, and "
            "features.yaml has no events.label: add it, or give each label its label_time"
        )
    return np.where(missing, event_time + label.delay, label_time)
