"""Encode arrays of N records, each with items of its own, from columns over all the items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ConfigurationError
from schemas.avro.encode.body import Body, Present
from schemas.avro.encode.nodes import Fields, ListOf, Node, both


@dataclass(frozen=True, slots=True)
class ArrayNode(Node):
    """An array, encoded from columns over the items of all records.

    Attributes:
        item: Node of an item.
        paths: Paths inside an item.
    """

    item: Node
    paths: frozenset[str] = field(repr=False)

    def write(self, body: Body, fields: Fields, present: Present) -> None:
        """Write a list for each record, or encoded values."""
        value = fields.get(self.path)
        if isinstance(value, ListOf):
            self._write_lists(body, value, present)
        else:
            Node.write(self, body, fields, present)

    def _write_lists(self, body: Body, lists: ListOf, present: Present) -> None:
        unknown = sorted(lists.items.keys() - self.paths)
        if unknown:
            raise ConfigurationError(
                f"field {self.path!r} takes {', '.join(sorted(self.paths))}, not {unknown[0]!r}"
            )
        if len(lists.counts) != body.rows:
            raise ValueError(
                f"field {self.path!r} of {body.rows} records: {len(lists.counts)} counts"
            )
        if self.union is not None:
            self.union.write(body, None, present)
        filled = lists.counts > 0
        if filled.any():
            # A block of items stands behind its count; no block stands for no items.
            body.varint(lists.counts, both(present, None if filled.all() else filled))
            items = Body(int(lists.counts.sum()))
            self.item.write(items, lists.items, None)
            body.encoded(_joined(items.joined(), lists.counts), present)
        body.constant(b"\x00", present)


def _joined(items: pa.BinaryArray, counts: npt.NDArray[np.integer[Any]]) -> pa.BinaryArray:
    """Join consecutive items, ``counts[i]`` for record i.

    The items lie side by side, so no bytes are copied.
    """
    _, offsets, data = items.buffers()
    starts = np.frombuffer(offsets, np.int32)[items.offset :]
    ends = starts[np.concatenate([[0], np.cumsum(counts)])]
    return pa.Array.from_buffers(pa.binary(), len(counts), [None, pa.py_buffer(ends), data])
