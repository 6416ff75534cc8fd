"""Encode the columns of a micro-batch to Avro records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ConfigurationError
from schemas.avro.encode.body import Body
from schemas.avro.encode.nodes import Constant, Encoded, Field, ListOf, MapOf, Node, RecordNode
from schemas.avro.encode.schema import build, walk
from schemas.batch import Column

__all__ = [
    "Column",
    "Constant",
    "Encoded",
    "Field",
    "ListOf",
    "MapOf",
    "Options",
    "RecordEncoder",
]


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Values of a field that are encoded once; each record uses one of them."""

    encoded: pa.BinaryArray

    def at(self, codes: npt.NDArray[np.integer[Any]]) -> Encoded:
        """Choose option number ``codes[i]`` for record i; ``codes`` is int[N]."""
        return Encoded(self.encoded.take(pa.array(codes)))


class RecordEncoder:
    """Encode records of one schema from columns, as ``fastavro.schemaless_writer`` would.

    Fields are named by their dotted path; those of an array's items by the array's path, ``.*`` and
    their own. A field that is not given takes the schema's default.
    A nullable record is null if every column given for a field inside it is null, and every list
    empty.
    """

    def __init__(self, schema: Mapping[str, Any], prefix: bytes = b"") -> None:
        """Prepare the encoder of a schema.

        Args:
            schema: Record schema, as JSON values.
            prefix: Bytes before each record, such as a schema registry's framing.

        Raises:
            ConfigurationError: The schema does not parse, is no record, or is recursive.
        """
        named: dict[str, Any] = {}
        try:
            parsed = fastavro.parse_schema(dict(schema), named_schemas=named)
        except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
            raise ConfigurationError(f"the schema to encode with is broken: {error}") from error
        root = build("", parsed, named)
        if not isinstance(root, RecordNode):
            raise ConfigurationError("the schema to encode with is no record: give a record schema")
        self._prefix = prefix
        self._root = root
        self._nodes = {node.path: node for node in walk(root, items=True)}

    def constant(self, path: str, value: Any) -> Constant:
        """Encode one value for all records, as fastavro encodes it for the field at ``path``."""
        return Constant(self._node(path).encode_value(value))

    def options(self, path: str, values: Sequence[Any]) -> Options:
        """Encode ``values`` for the field at ``path``; each record can then use one of them."""
        node = self._node(path)
        return Options(pa.array([node.encode_value(value) for value in values], pa.binary()))

    def encode(self, rows: int, fields: Mapping[str, Field]) -> list[bytes]:
        """Encode the records, each after the prefix; every column has ``rows`` values.

        Raises:
            ConfigurationError: A path is not in the schema, a column's kind does not fit its field,
                or a field without a default is missing.
            ValueError: A value does not fit: a null, a number out of range, an unknown symbol of an
                enum.
            OverflowError: The records exceed 2 GiB together.
        """
        for path in fields:
            if path not in self._root.paths:
                raise self._unknown(path)
        if rows == 0:
            return []
        body = Body(rows)
        body.constant(self._prefix)
        self._root.write(body, fields, None)
        return body.finish()

    def _node(self, path: str) -> Node:
        node = self._nodes.get(path)
        if node is None or not path:
            raise self._unknown(path)
        return node

    def _unknown(self, path: str) -> ConfigurationError:
        known = ", ".join(sorted(self._root.paths))
        return ConfigurationError(f"field {path!r} is not in the schema, which has {known}")
