"""Avro containers, read by fastavro under a schema without what reading does not need."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import fastavro

from schemas.definitions import PRIMITIVES, Definitions, Schema
from schemas.errors import ConfigurationError

CODECS: Final = ("null", "deflate", "bzip2", "xz", "snappy", "zstandard")
_MOST_DIGITS: Final = 1_000
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
    """An open container: its schema, resolved by ``definitions``, and its bytes under a plain one."""

    schema: Schema
    definitions: Definitions
    stream: Any

    def records(self) -> Iterator[Any]:
        """Python values of the records.

        Times are numbers, UUIDs text as it stands, and text that is no UTF-8 has half characters.
        """
        reader = fastavro.reader(self.stream, handle_unicode_errors="surrogateescape")
        self._restore(reader.writer_schema)
        return iter(reader)

    def count(self) -> int:
        """Number of records, by the blocks' headers."""
        return sum(block.num_records for block in fastavro.block_reader(self.stream))

    def _restore(self, schema: Any) -> None:
        """Put in the symbols: fastavro looks at them when it parses a schema, not when it reads."""
        match schema:
            case list():
                for branch in schema:
                    self._restore(branch)
            case {"type": "enum", "name": name}:
                schema["symbols"] = self.definitions[name]["symbols"]
            case {"fields": fields}:
                for item in fields:
                    self._restore(item["type"])
            case {"items": inner} | {"values": inner}:
                self._restore(inner)


@contextmanager
def open_container(path: Path) -> Iterator[Container]:
    """Raises ConfigurationError for a codec that is not read, others for what is no container."""
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
        definitions = Definitions()
        schema = definitions.add(json.loads(meta["avro.schema"]))
        meta["avro.schema"] = json.dumps(_plain(schema, definitions, set())).encode()
        head = io.BytesIO()
        fastavro.schemaless_writer(head, _HEADER, header)
        yield Container(schema, definitions, _Joined(head.getvalue(), file))


class _Joined:
    """A file whose beginning, up to where it stands, is replaced by ``head``."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = io.BytesIO(head)
        self._file = file

    def read(self, size: int) -> bytes:
        found = self._head.read(size)
        return found if len(found) == size else found + self._file.read(size - len(found))

    def tell(self) -> int:
        return self._file.tell()


def _plain(schema: Schema, definitions: Definitions, defined: set[str]) -> Any:
    """The schema as JSON values, each name defined where it first stands."""
    match schema:
        case list():
            return [_plain(branch, definitions, defined) for branch in schema]
        case str() if schema in PRIMITIVES or schema in defined:
            return schema
        case str():
            defined.add(schema)
            return _plain_named(schema, definitions, defined)
        case {"items": items}:
            return {"type": "array", "items": _plain(items, definitions, defined)}
        case {"values": values}:
            return {"type": "map", "values": _plain(values, definitions, defined)}
        case _:
            return {"type": schema["type"], **_decimal(schema, _MOST_DIGITS)}


def _plain_named(name: str, definitions: Definitions, defined: set[str]) -> Any:
    own = definitions[name]
    match own["type"]:
        case "enum":
            symbols = [f"S{number}" for number in range(len(own["symbols"]))]
            return {"type": "enum", "name": name, "symbols": symbols}
        case "fixed":
            digits = int((8 * own["size"] - 1) * 0.30103)
            return {"type": "fixed", "name": name, "size": own["size"], **_decimal(own, digits)}
        case _:
            fields = [
                {"name": item["name"], "type": _plain(item["type"], definitions, defined)}
                for item in own["fields"]
            ]
            return {"type": "record", "name": name, "fields": fields}


def _decimal(schema: Any, digits: int) -> dict[str, Any]:
    """The logical type of a decimal with room for all digits; of another type, nothing."""
    scale = schema.get("scale", 0)
    valid = isinstance(scale, int) and not isinstance(scale, bool) and 0 <= scale <= digits
    if schema.get("logicalType") != "decimal" or not valid or not digits:
        return {}
    if schema["type"] not in ("bytes", "fixed"):
        return {}
    return {"logicalType": "decimal", "precision": digits, "scale": scale}
