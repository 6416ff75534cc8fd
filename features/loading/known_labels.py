"""All labels of one run, matched to their events by event id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs, Mask
from features.definition import FeatureSet
from features.history.labels import LabelBatch
from features.loading.label_rows import LabelRows, concat, known_from, whole_labels
from features.values.hash64 import PROCESS_KEY, hash_ids
from schemas.batch import EventBatch


@dataclass(frozen=True, slots=True, eq=False)
class LabelsOfEvents:
    """Labels of a batch's events.

    Attributes:
        rows: int64[K], the labelled rows.
        fraud: bool[K], the latest label of each row.
        label_time: int64[K], its label time.
        labels: Labels for the store, with the times and keys of their events.
    """

    rows: Longs
    fraud: Mask
    label_time: Longs
    labels: LabelBatch


class KnownLabels:
    """Labels in memory, about 100 bytes each.

    Attributes:
        ahead: All labels, to be stored before the first event, if each has its event's time and
            keys. None if some do not have them, and get them from their events as these are read
            (an event then sees the labels of earlier events only).
    """

    def __init__(self, feature_set: FeatureSet, parts: Sequence[LabelRows]) -> None:
        """Raise ConfigurationError for a label without a label time if there is no label delay."""
        self._feature_set = feature_set
        rows = concat(parts, feature_set.labelled_entities)
        whole = whole_labels(feature_set, rows)
        self.ahead: LabelBatch | None = None if whole.errors else whole.labels
        order = np.argsort(hash_ids(rows.event_id, PROCESS_KEY), kind="stable")
        self._rows = rows.take(order)
        self._hashes = hash_ids(self._rows.event_id, PROCESS_KEY)

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, batch: EventBatch) -> LabelsOfEvents:
        """Labels of N events, of any label time."""
        wanted = hash_ids(batch.event_id, PROCESS_KEY)
        first = np.searchsorted(self._hashes, wanted)
        counts = np.searchsorted(self._hashes, wanted, "right") - first
        events = np.repeat(np.arange(len(batch)), counts)
        places = np.arange(len(events)) - np.repeat(np.cumsum(counts) - counts - first, counts)
        same = pc.equal(
            batch.event_id.take(pa.array(events)), self._rows.event_id.take(pa.array(places))
        ).to_numpy(zero_copy_only=False)
        events, rows = events[same], self._rows.take(places[same])
        known = known_from(self._feature_set, batch.event_time[events], rows.label_time)
        order = np.lexsort((rows.fraud, rows.offsets, rows.partitions, known, events))
        events, rows, known = events[order], rows.take(order), known[order]
        last = np.ones(len(events), np.bool_)
        last[:-1] = events[1:] != events[:-1]
        own = replace(
            rows,
            event_time=batch.event_time[events],
            entity_keys={e: k.take(pa.array(events)) for e, k in batch.entity_keys.items()},
        )
        labels = whole_labels(self._feature_set, own).labels
        return LabelsOfEvents(events[last], rows.fraud[last], known[last], labels)
