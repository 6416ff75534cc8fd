"""Avro containers: a header with the writer schema, then blocks of bodies."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import fastavro

from base.errors import ConfigurationError, SchemaRefusedError
from base.file_path import FilePath
from schemas.avro.types import MAX_NODES, Type, parse_writer_schema
from schemas.fastavro_schema import FastavroSchema, decimals
from schemas.files.container_rows import BlockReader, Lost, is_bounded

CODECS: Final = ("null", "deflate", "bzip2", "xz", "snappy", "zstandard")

ANY: Final = ".*"
"""Suffix of a map's name: any key may follow the dot."""

_HEADER: Final = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": 16}},
        ],
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """An open container.

    Attributes:
        path: Path of the file.
        tree: Writer schema.
        declared: Writer schema as JSON, as the file has it.
        schema: Schema that fastavro reads with; None if the number of bytes of a value does not
            bound its memory, see ``is_bounded``.
        stream: The file, with a header that fastavro accepts.
    """

    path: FilePath
    tree: Type
    declared: Any
    schema: FastavroSchema | None
    stream: Any

    def leaves(self) -> dict[str, str]:
        """Logical type of each value that is not a record, by dotted name, also inside unions.

        A record that contains itself is entered once. Several such records can refer to each other
        in very many paths, so the number of visited types is limited, the least nested first.
        """
        logical: dict[str, str] = {}
        waiting = deque([(self.tree, "", frozenset({self.tree.name}))])
        for _ in range(2 * MAX_NODES):
            if not waiting:
                break
            declared, path, within = waiting.popleft()
            match declared.unfolded.base:
                case "union":
                    waiting.extend((branch, path, within) for branch in declared.branches)
                case "record" if declared.records is None or declared.name not in within:
                    within |= {declared.name}
                    for item in declared.unfolded.fields:
                        here = f"{path}.{item.name}" if path else item.name
                        waiting.append((item.type, here, within))
                case "map" if is_bounded(declared):
                    logical[f"{path}{ANY}"] = ""
                case base if path and base != "null":
                    own = declared.logical or ""
                    logical[path] = own if logical.get(path, own) == own else ""
        return logical

    def records(self, names: Collection[str]) -> Iterator[Any]:
        """Python values of the records; a RecordError for a record that exceeds the bounds.

        Times are numbers, UUIDs stay as they are stored, and invalid UTF-8 becomes lone surrogates.

        Args:
            names: Dotted names in use. If the schema is not bounded, a record has only these names
                as its keys.
        """
        if self.schema is not None:
            reader = fastavro.reader(self.stream, handle_unicode_errors="surrogateescape")
            self.schema.restore(reader.writer_schema)
            return iter(reader)
        return self._checked(BlockReader(self.tree, names))

    def count(self) -> int:
        """Count the records by the headers of the blocks."""
        return sum(block.num_records for block in fastavro.block_reader(self.stream))

    def _checked(self, reader: BlockReader) -> Iterator[Any]:
        row = 0
        for block in fastavro.block_reader(self.stream):
            data = block.bytes_.read()  # type: ignore[attr-defined]
            for record in reader.read(data, block.num_records):
                if isinstance(record, Lost):
                    raise ConfigurationError(
                        f"event file {self.path}, row {row}: {record.message}; the start of the "
                        "next row is then unknown: write the file again without this row"
                    )
                yield record
                row += 1


@contextmanager
def open_container(path: FilePath) -> Iterator[Container]:
    """Open an Avro container.

    Raises:
        ConfigurationError: The codec or the schema is not supported.
        Exception: The file is not an Avro container; the type depends on its content.
    """
    with path.open("rb") as file:
        header: Any = fastavro.schemaless_reader(file, _HEADER, None)
        if header["magic"] != b"Obj\x01":
            raise ValueError("it does not begin like an Avro container")
        meta = header["meta"]
        codec = meta.get("avro.codec", b"null").decode()
        if codec not in CODECS:
            raise ConfigurationError(
                f"event file {path} is compressed with the codec {codec}, which is not supported: "
                f"write it with one of {', '.join(CODECS)}"
            )
        try:
            declared = json.loads(meta["avro.schema"])
            tree = parse_writer_schema(declared)
        except SchemaRefusedError as error:
            raise ConfigurationError(
                f"event file {path} has a schema that is not supported: {error}; write the file "
                "with another schema, or as Parquet or JSON lines"
            ) from error
        schema = FastavroSchema(tree, decimals) if is_bounded(tree) else None
        meta["avro.schema"] = json.dumps("bytes" if schema is None else schema.json).encode()
        head = io.BytesIO()
        fastavro.schemaless_writer(head, _HEADER, header)
        yield Container(path, tree, declared, schema, _ReplacedHeader(head.getvalue(), file))


class _ReplacedHeader:
    """A file whose bytes before its current position are replaced by ``head``."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = io.BytesIO(head)
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._head.read(size)
        return data if len(data) == size else data + self._file.read(size - len(data))

    def tell(self) -> int:
        return self._file.tell()
