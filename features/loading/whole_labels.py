"""Complete labels: those with all that an online store needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from base.errors import ConfigurationError, ErrorCode, RecordError
from features.compute.bind import EARLIEST, LATEST, MAX_KEY_BYTES
from features.definition import FeatureSet
from features.history.labels import LabelBatch
from features.loading.label_rows import UNKNOWN, LabelRows, Longs, Mask
from features.values.column_values import byte_lengths


@dataclass(frozen=True, slots=True, eq=False)
class WholeLabels:
    """Complete labels, and errors of the others.

    A label that is not a fraud and has no time of its own is in neither: an event without a label
    is not a fraud either, and a label that takes back another one needs a later time.

    Attributes:
        labels: Labels for the store.
        errors: Missing or invalid field of the other labels, by row.
    """

    labels: LabelBatch
    errors: dict[int, RecordError]


def labelled_entities(feature_set: FeatureSet) -> tuple[str, ...]:
    """The entities with windows that count frauds; labels are stored by their keys."""
    return tuple(e.entity for e in feature_set.histories.entities if e.labelled)


def whole_labels(feature_set: FeatureSet, rows: LabelRows) -> WholeLabels:
    """Select those of N labels that have their event's time and keys.

    Raises:
        ConfigurationError: A label has no label time and there is no label delay.
    """
    errors = _Errors()
    time = rows.event_time
    errors.add(time == UNKNOWN, ErrorCode.EVENT_TIME_MISSING, "the event time is missing")
    errors.add(
        (time < EARLIEST) | (time >= LATEST),
        ErrorCode.EVENT_TIME_OUT_OF_RANGE,
        "the event time is not between 2000 and 2100 (is its unit right?)",
    )
    keys = {entity: rows.keys(entity) for entity in labelled_entities(feature_set)}
    for entity, values in keys.items():
        lengths = byte_lengths(values)
        errors.add(
            lengths == 0, ErrorCode.ENTITY_KEY_MISSING, f"the key of {entity} is null or empty"
        )
        errors.add(
            lengths > MAX_KEY_BYTES,
            ErrorCode.KEY_TOO_LONG,
            f"the key of {entity} is longer than {MAX_KEY_BYTES} bytes",
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
    unsaid = label_time == UNKNOWN
    if not unsaid.any():
        return label_time
    label = feature_set.bindings.label
    if label is None:
        raise ConfigurationError(
            "labels without a label time count from the event time plus events.label.delay, and "
            "features.yaml has no events.label: add it, or give each label its label_time"
        )
    return np.where(unsaid, event_time + label.delay, label_time)


class _Errors:
    """The first error of each row."""

    def __init__(self) -> None:
        self.by_row: dict[int, RecordError] = {}

    def add(self, wrong: Mask, code: ErrorCode, message: str) -> None:
        error = RecordError(code, message)
        for row in np.flatnonzero(wrong).tolist():
            self.by_row.setdefault(row, error)
