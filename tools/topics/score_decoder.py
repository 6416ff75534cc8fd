"""Decoder of the records of an output topic."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from base.errors import ConfigurationError
from schemas.avro.decoder import Decoder
from schemas.avro.types import parse_record_schema
from schemas.batch import Records
from schemas.registry.source import FixedSchemaSource
from worker.schema_sources import registry_source, score_schema
from worker.settings import Registry

# Limits of one score, above what any topic accepts, so that none is refused for its size.
_MOST_BYTES = 2**30
_MOST_ITEMS = 2**20


class ScoreDecoder:
    """Decoder of scores into columns."""

    def __init__(
        self, paths: Collection[str], *, framed: bool = True, registry: Registry | None = None
    ) -> None:
        """Prepare the decoder.

        Args:
            paths: Paths of the fields to decode.
            framed: True if each record begins with Confluent's prefix.
            registry: Registry of the writers' schemas; None to decode every record as score.avsc.
        """
        schema = score_schema()
        # An output topic holds only scores, whatever ids they name.
        own = FixedSchemaSource(parse_record_schema(schema), framed=framed)
        source = own if registry is None else registry_source(registry)
        self._decoder = Decoder(source, schema, paths, _MOST_BYTES, _MOST_ITEMS)

    def decode(self, records: Records) -> dict[str, Any]:
        """Decode N records.

        Returns:
            By path, an array of N values.

        Raises:
            ConfigurationError: A record is not a score.
        """
        decoded = self._decoder.decode(records.values, records.headers)
        for row, error in decoded.errors.items():
            raise ConfigurationError(
                f"{records.topic}, partition {records.partitions[row]}, offset "
                f"{records.offsets[row]}: not a score ({error.code.value}: {error.message}); "
                "name a topic that holds only scores, or its registry"
            )
        return {path: column.values for path, column in decoded.columns.items()}
