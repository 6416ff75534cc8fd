"""Avro containers: blocks of bodies behind a header with their writer's schema."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import fastavro

from base.errors import ConfigurationError, SchemaRefusedError
from schemas.avro.types import MAX_NODES, Type, parse_writer_schema
from schemas.fastavro_schema import FastavroSchema, decimals
from schemas.files.container_rows import BlockReader, Lost, is_bounded

CODECS: Final = ("null", "deflate", "bzip2", "xz", "snappy", "zstandard")

ANY: Final = ".*"
"""Suffix of a map's name: the map may hold any key after the dot."""

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
        schema: Schema that fastavro reads with; None if the bytes of a value do not bound its
            memory, see ``is_bounded``.
        stream: The file, with a header that fastavro accepts.
    """

    path: Path
    tree: Type
    schema: FastavroSchema | None
    stream: Any

    def leaves(self) -> dict[str, str]:
        """The dotted name and the logical type of each value that is no record, through unions.

        Records that contain themselves are entered once. The paths through many such records have
        no end, so only the first MAX_NODES types inside are visited, shallow ones first.
        """
        found: dict[str, str] = {}
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
                    found[f"{path}{ANY}"] = ""
                case base if path and base != "null":
                    own = declared.logical or ""
                    found[path] = own if found.get(path, own) == own else ""
        return found

    def records(self, names: Collection[str]) -> Iterator[Any]:
        """Python values of the records; a RecordError for a record out of bounds.

        Times are numbers, UUIDs keep their form, and text that is no UTF-8 has lone surrogates.

        Args:
            names: Dotted names in use. If values are not bounded, a record holds only these, and
                they are its keys.
        """
        if self.schema is not None:
            reader = fastavro.reader(self.stream, handle_unicode_errors="surrogateescape")
            self.schema.restore(reader.writer_schema)
            return iter(reader)
        return self._checked(BlockReader(self.tree, names))

    def count(self) -> int:
        """Number of records, from the headers of the blocks."""
        return sum(block.num_records for block in fastavro.block_reader(self.stream))

    def _checked(self, reader: BlockReader) -> Iterator[Any]:
        row = 0
        for block in fastavro.block_reader(self.stream):
            data = block.bytes_.read()  # type: ignore[attr-defined]
            for record in reader.read(data, block.num_records):
                if isinstance(record, Lost):
                    raise ConfigurationError(
                        f"event file {self.path}, row {row}: {record.message}; where the next row "
                        "begins is not known: write the file again without this one"
                    )
                yield record
                row += 1


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Open an Avro container.

    Any other exception than the one below means that the file is no Avro container.

    Raises:
        ConfigurationError: The codec or the schema is not supported.
    """
    with path.open("rb") as file:
        header: Any = fastavro.schemaless_reader(file, _HEADER, None)
        if header["magic"] != b"Obj\x01":
            raise ValueError("it does not begin as an Avro container")
        meta = header["meta"]
        codec = meta.get("avro.codec", b"null").decode()
        if codec not in CODECS:
            raise ConfigurationError(
                f"event file {path} is compressed with the codec {codec}, which is not read: write "
                f"it with one of {', '.join(CODECS)}"
            )
        try:
            tree = parse_writer_schema(json.loads(meta["avro.schema"]))
        except SchemaRefusedError as error:
            raise ConfigurationError(
                f"event file {path} has a schema that is not read: {error}; write the file with "
                "another schema, or as Parquet or JSON lines"
            ) from error
        schema = FastavroSchema(tree, decimals) if is_bounded(tree) else None
        meta["avro.schema"] = json.dumps("bytes" if schema is None else schema.json).encode()
        head = io.BytesIO()
        fastavro.schemaless_writer(head, _HEADER, header)
        yield Container(path, tree, schema, _Joined(head.getvalue(), file))


class _Joined:
    """A file whose bytes before its current position are replaced by ``head``."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = io.BytesIO(head)
        self._file = file

    def read(self, size: int) -> bytes:
        found = self._head.read(size)
        return found if len(found) == size else found + self._file.read(size - len(found))

    def tell(self) -> int:
        return self._file.tell()
