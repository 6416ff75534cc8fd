"""Decoding of score records into columns, for the screen and the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.decoder import Decoder
from schemas.avro.types import parse_record_schema
from schemas.registry.source import FixedSchemaSource
from worker.schema_sources import score_schema

_PATHS = ("event_id", "decision", "score", "source.partition", "source.offset")


@dataclass(frozen=True, slots=True, eq=False)
class DemoScores:
    """Columns of N scores.

    Attributes:
        event_ids: StringArray[N].
        decisions: StringArray[N].
        scores: float64[N].
        partitions: int64[N], of the input records.
        offsets: int64[N], of the input records.
    """

    event_ids: pa.StringArray
    decisions: pa.StringArray
    scores: npt.NDArray[np.float64]
    partitions: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class ScoreReader:
    """Decoder of score records."""

    def __init__(self) -> None:
        schema = score_schema()
        source = FixedSchemaSource(parse_record_schema(schema), framed=True)
        self._decoder = Decoder(source, schema, _PATHS, 2**20, 10_000)

    def read(self, messages: Sequence[Message]) -> DemoScores:
        """Decode scores. Raises ValueError when a record is no score."""
        decoded = self._decoder.decode([m.value() for m in messages])
        if decoded.errors:
            raise ValueError(f"the output topic holds what is no score: {decoded.errors}")
        values: dict[str, Any] = {path: column.values for path, column in decoded.columns.items()}
        return DemoScores(
            values["event_id"],
            values["decision"],
            values["score"],
            values["source.partition"],
            values["source.offset"],
        )
