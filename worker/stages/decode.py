"""Decode: bytes to events; an invalid record becomes a dead letter."""

from __future__ import annotations

from dataclasses import dataclass

from features.compute.bind import bind
from features.definition import FeatureSet
from schemas.avro.decoder import Decoder
from schemas.batch import EventBatch, Records
from worker.stages.dead_letter import DeadLetter, Stage, dead_letter


@dataclass(frozen=True, slots=True, eq=False)
class Decode:
    """Decodes record bodies into columns, and binds these to the fields of events."""

    decoder: Decoder
    feature_set: FeatureSet

    def __call__(self, records: Records) -> tuple[EventBatch, list[DeadLetter]]:
        """The events, in the order of their records, and a dead letter for every other record.

        Raises DependencyUnavailableError when a schema is needed from a registry that is away.
        """
        decoded = self.decoder.decode(records.values, records.headers)
        batch, errors = bind(self.feature_set, records, decoded)
        letters = [
            dead_letter(
                records,
                row,
                error,
                Stage.DECODE,
                # Without its headers nobody knows which schema the record names.
                decoded.schema_ids[row]
                if decoded.schema_ids and row not in records.faults
                else None,
            )
            for row, error in sorted(errors.items())
        ]
        return batch, letters
