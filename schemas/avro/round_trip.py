"""Compute columns after a round trip of encoding and decoding, without the records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import fastavro
import numpy as np
import pyarrow as pa

from base.arrays import Mask, RowErrors
from base.errors import ErrorCode
from schemas.avro.body_reader import BodyReader
from schemas.avro.encode.nodes import LeafNode, Node, RecordNode
from schemas.avro.encode.schema import build, walk
from schemas.avro.paths import targets
from schemas.avro.resolution import project
from schemas.avro.types import parse_record_schema
from schemas.batch import Column, Decoded, Kind

_MAX_ITEMS: Final = 10_000

Present = Mask | None
"""bool[N], False where the record around a field is null; None when it is so in no row."""


class RoundTrip:
    """Compute the columns that ``Decoder`` would read from the records of ``RecordEncoder``.

    No record is made for it.

    Args:
        schema: Schema of the records, for writing and reading.
        paths: Paths that decoding gives.
    """

    def __init__(self, schema: Mapping[str, Any], paths: Iterable[str]) -> None:
        named: dict[str, Any] = {}
        root = build("", fastavro.parse_schema(dict(schema), named_schemas=named), named)
        found = targets(parse_record_schema(schema), paths)
        self._ways = {target.path: list(_way(root, target.path)) for target in found}
        self._nulls = BodyReader(found, _MAX_ITEMS).read_one(b"", ())
        self._defaults: dict[str, Column] = {}

    @property
    def reads(self) -> frozenset[str]:
        """Paths whose columns are read.

        These are the paths asked for, and those that decide if a record is null.
        """
        outer = [node for way in self._ways.values() for node, _ in way[:-1] if node.branch]
        inside = [leaf.path for node in outer for leaf in walk(node) if isinstance(leaf, LeafNode)]
        return frozenset([*self._ways, *inside])

    def __call__(self, rows: int, columns: Mapping[str, Column]) -> Decoded:
        """Compute N decoded rows.

        A row that no record can hold is an error, and null in all columns. A path without a column
        takes the schema's default; without a default it is null.
        """
        errors = RowErrors()
        found = {path: self._column(path, rows, columns, errors) for path in self._ways}
        if errors.by_row:
            good = np.ones(rows, np.bool_)
            good[list(errors.by_row)] = False
            found = {path: column.where(good) for path, column in found.items()}
        return Decoded(found, errors.by_row)

    def _column(
        self, path: str, rows: int, columns: Mapping[str, Column], errors: RowErrors
    ) -> Column:
        present: Present = None
        for node, default in self._ways[path]:
            if default is not None and not node.given(columns):
                return _repeated(self._default(path, node, default), rows, present)
            if isinstance(node, RecordNode) and (not node.branch or node.given(columns)):
                present = _both(present, node.valid(columns))
            elif not node.given(columns):
                return _repeated(self._nulls[path], rows, None)
        leaf = self._ways[path][-1][0]
        if not isinstance(leaf, LeafNode):
            raise TypeError(f"{path} is no leaf")
        return _held(leaf, columns[path], present, errors)

    def _default(self, path: str, node: Node, encoded: bytes) -> Column:
        """Column[1] with the decoded value of a default."""
        if path not in self._defaults:
            schema = {
                "type": "record",
                "name": "fraud_worker.Default",
                "fields": [{"name": "value", "type": node.schema}],
            }
            tree = parse_record_schema(schema)
            found = targets(tree, ["value" + path.removeprefix(node.path)])
            columns = BodyReader(found, _MAX_ITEMS).read_one(encoded, project(tree, tree, found))
            (self._defaults[path],) = columns.values()
        return self._defaults[path]


def _repeated(one: Column, rows: int, present: Present) -> Column:
    same = one.take(np.zeros(rows, np.intp))
    return same if present is None else same.where(present)


def _way(root: Node, path: str) -> Iterator[tuple[Node, bytes | None]]:
    """The nodes from below ``root`` down to ``path``, each with its encoded default."""
    node = root
    while node.path != path:
        if not isinstance(node, RecordNode):
            raise TypeError(f"{node.path} has nothing inside")
        node, default = next(
            (child, default)
            for child, default in node.fields
            if f"{path}.".startswith(f"{child.path}.")
        )
        yield node, default


def _both(one: Present, other: Present) -> Present:
    """Rows where both masks are True; a mask of None is True everywhere."""
    if one is None:
        return other
    return one if other is None else one & other


def _held(leaf: LeafNode, column: Column, present: Present, errors: RowErrors) -> Column:
    values, fits = leaf.type.held(column)
    if fits is not None:
        message = f"{leaf.path} has a value that its type in the schema cannot hold"
        errors.add(column.valid & ~fits, ErrorCode.BODY_INVALID, message)
    if column.kind is Kind.STRING:
        message = f"{leaf.path} is no text in UTF-8"
        errors.add(_not_utf8(values), ErrorCode.UTF8_INVALID, message)
    if leaf.null is None and not column.valid.all():
        missing = ~column.valid if present is None else ~column.valid & present
        message = f"{leaf.path} is null, and its schema allows none"
        errors.add(missing, ErrorCode.BODY_INVALID, message)
    return Column(column.kind, values, column.valid, column.scale)


def _not_utf8(values: pa.StringArray) -> Mask:
    """bool[N], True for a string that is not UTF-8.

    Arrow does not validate the strings of a file unless it is asked to.
    """
    wrong = np.zeros(len(values), np.bool_)
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        for row, value in enumerate(values.cast(pa.binary()).to_pylist()):
            wrong[row] = value.decode("utf-8", "replace").encode() != value
    return wrong
