"""Encode the columns of a micro-batch to Avro records."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import fastavro

from base.errors import ConfigurationError
from schemas.avro.encode.fields import Constant, Fields, Options, shape
from schemas.avro.encode.nodes import Node, RecordNode, encode_value
from schemas.avro.encode.program import EncoderProgram
from schemas.avro.encode.schema import build, walk

_MOST_PROGRAMS: Final = 32


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
        self._programs: dict[Hashable, EncoderProgram] = {}

    def constant(self, path: str, value: Any) -> Constant:
        """Encode one value for all records, as fastavro encodes it for the field at ``path``."""
        return Constant(encode_value(self._node(path).schema, value))

    def options(self, path: str, values: Sequence[Any]) -> Options:
        """Encode ``values`` for the field at ``path``; each record can then use one of them."""
        schema = self._node(path).schema
        return tuple(encode_value(schema, value) for value in values)

    def encode(self, rows: int, fields: Fields) -> list[bytes]:
        """Encode the records, each after the prefix; every column has ``rows`` values.

        Raises:
            ConfigurationError: A path is not in the schema, a column's kind does not fit its field,
                or a field without a default is missing.
            ValueError: A value does not fit: a null, a number out of range, an unknown symbol of an
                enum.
            OverflowError: The records exceed 2 GiB together.
        """
        if unknown := fields.keys() - self._root.paths:
            raise self._unknown(min(unknown))
        if rows == 0:
            return []
        data, bounds = self._program(fields).run(rows, fields)
        joined = data.tobytes()
        return [joined[start:end] for start, end in pairwise(bounds.tolist())]

    def _program(self, fields: Fields) -> EncoderProgram:
        key = shape(fields)
        if key not in self._programs:
            program = EncoderProgram(self._prefix)
            self._root.write(program, fields)
            if len(self._programs) == _MOST_PROGRAMS:
                self._programs.clear()
            self._programs[key] = program
        return self._programs[key]

    def _node(self, path: str) -> Node:
        node = self._nodes.get(path)
        if node is None or not path:
            raise self._unknown(path)
        return node

    def _unknown(self, path: str) -> ConfigurationError:
        known = ", ".join(sorted(self._root.paths))
        return ConfigurationError(f"field {path!r} is not in the schema, which has {known}")
