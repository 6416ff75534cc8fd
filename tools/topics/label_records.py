"""Records of the labels topic, from labels of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from base.arrays import byte_lengths
from features.definition import FeatureSet
from features.loading import LabelRows, whole_labels
from schemas.avro.encode.encoder import RecordEncoder
from schemas.avro.encode.fields import Chosen, Field, Filled, ListOf
from schemas.batch import Kind, Refusal, refusals
from worker.schema_sources import label_schema


@dataclass(frozen=True, slots=True, eq=False)
class LabelRecords:
    """Records of the complete ones of N labels, and refusals of the incomplete ones.

    Attributes:
        keys: Key of each record, the event id in UTF-8.
        values: Value of each record, framed.
        rows: Number in the file of each record's row.
        skipped: Number of labels that say nothing: see ``WholeLabels``.
        refused: The incomplete labels.
    """

    keys: Sequence[bytes]
    values: Sequence[bytes]
    rows: Sequence[int]
    skipped: int
    refused: Sequence[Refusal]


class LabelEncoder:
    """Encode labels to records of the schema ``label.avsc``."""

    def __init__(self, feature_set: FeatureSet, prefix: bytes) -> None:
        """Prepare the encoder; ``prefix`` are the bytes before each record, such as its framing."""
        self._feature_set = feature_set
        self._encoder = RecordEncoder(label_schema(), prefix)
        self._entities = tuple(feature_set.bindings.entities)
        self._names = self._encoder.options("entity_keys.*.key", self._entities)

    def __call__(self, labels: LabelRows, describe_row: Callable[[int], str]) -> LabelRecords:
        """Encode labels of a file, with every entity key that the file has.

        Args:
            labels: N labels.
            describe_row: Gives the place of a row of the file, for refusals.

        Raises:
            ConfigurationError: A label has no label time and there is no label delay.
        """
        whole = whole_labels(self._feature_set, labels)
        complete = whole.labels
        given = labels.take(np.searchsorted(labels.offsets, complete.offsets))
        fields: dict[str, Field] = {
            "event_id": Filled(Kind.STRING, complete.event_id),
            "event_time": Filled(Kind.TIME, complete.event_time),
            "entity_keys": self._keys(given),
            "fraud": Filled(Kind.BOOL, complete.fraud),
            "label_time": Filled(Kind.TIME, complete.label_time),
        }
        if given.source is not None:
            fields["source"] = Filled(Kind.STRING, given.source)
        return LabelRecords(
            complete.event_id.cast(pa.binary()).to_pylist(),
            self._encoder.encode(len(complete), fields),
            complete.offsets.tolist(),
            len(labels) - len(complete) - len(whole.errors),
            refusals(whole.errors, lambda index: describe_row(labels.offsets[index])),
        )

    def _keys(self, labels: LabelRows) -> Field:
        """Keys of all entities; one that is missing is left out of its map."""
        columns = [labels.keys(entity) for entity in self._entities]
        present = np.stack([byte_lengths(column) > 0 for column in columns], axis=1)
        rows, entities = np.nonzero(present)
        values = pa.concat_arrays(columns).take(pa.array(entities * len(labels) + rows))
        return ListOf(
            present.sum(axis=1),
            {
                "entity_keys.*.key": Chosen(self._names, entities),
                "entity_keys.*.value": Filled(Kind.STRING, values),
            },
        )
