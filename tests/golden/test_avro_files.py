"""The decoder against Avro container files that other implementations wrote."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import fastavro
import pytest

from base.errors import SchemaRefusedError
from schemas.avro.decoder import Decoder
from schemas.avro.types import parse_writer_schema
from schemas.registry.source import FixedSchemaSource
from tests.unit.schemas import avro_cases as avro

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))
FILES = sorted((DATA / "conformance" / "fastavro" / "tests" / "avro-files").glob("*.avro"))

pytestmark = pytest.mark.skipif(not FILES, reason="the Avro files are not in the data folder")


def bodies_of(path: Path) -> tuple[Any, list[bytes]]:
    """The writer schema of a container, and each of its records' bytes."""
    with path.open("rb") as file:
        blocks = fastavro.block_reader(file)
        schema = blocks.writer_schema
        stretches = [
            (block.num_records, block.bytes_.read())  # type: ignore[attr-defined]
            for block in blocks
        ]
    bodies = []
    for count, stretch in stretches:
        buffer = io.BytesIO(stretch)
        for _ in range(count):
            begin = buffer.tell()
            fastavro.schemaless_reader(buffer, schema, None)
            bodies.append(stretch[begin : buffer.tell()])
    return schema, bodies


def without_links(schema: Any) -> Any:
    """The record without the fields in which it contains itself, which no reader schema has."""
    own = schema["name"]
    fields = [item for item in schema["fields"] if own not in item["type"]]
    return {**schema, "fields": fields}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_columns_of_a_file_written_elsewhere(path: Path) -> None:
    try:
        schema, bodies = bodies_of(path)
    except (ValueError, EOFError, fastavro.schema.SchemaParseException) as error:
        pytest.skip(f"fastavro does not read this file: {error}")
    try:
        writer = parse_writer_schema(schema)
    except SchemaRefusedError as error:
        assert "top level" in str(error)  # noqa: PT017 - files of numbers and the like
        return
    paths = list(avro.leaves(schema))
    decoder = Decoder(
        FixedSchemaSource(writer, framed=False), without_links(schema), paths, 10**6, 10**6
    )
    for values in (bodies * 25, bodies[:1]):
        decoded = decoder.decode(values)
        assert not decoded.errors
        for number, body in enumerate(values[: len(bodies)]):
            wanted = avro.expected(schema, avro.fastavro_reads(schema, body), paths)
            assert avro.same(avro.row(decoded, number), wanted)
