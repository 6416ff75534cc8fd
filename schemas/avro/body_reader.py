"""Decode bodies to columns, by the programs of their writer schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from base.arrays import Bytes
from schemas.avro.kernel.structs import Bodies, Values
from schemas.avro.paths import Target
from schemas.avro.program import DecoderProgram
from schemas.avro.steps import Fault, Step
from schemas.batch import Column, Kind

# Enough above any batch that a worker is configured for; Arrow's strings count in 32 bits.
MAX_BATCH_BYTES: Final = 2**31 - 1


class BodyReader:
    """Decode the paths in use of bodies.

    Args:
        targets: Paths in use.
        max_items: Maximum items of an array or map.
    """

    def __init__(self, targets: Sequence[Target], max_items: int) -> None:
        texts = [item.slot for item in targets if item.type.kind is Kind.STRING]
        self._types = [(item.path, item.type.kind, item.type.scale) for item in targets]
        self._max_items = max_items
        self._program = DecoderProgram(len(targets), texts)

    def add(self, steps: Sequence[Step]) -> int:
        """Return the entry of a writer schema with these steps."""
        return self._program.add(steps)

    def read(self, bodies: Bodies) -> tuple[dict[str, Column], dict[int, Fault]]:
        """Decode N bodies.

        Returns:
            Column[N] of each path, and the fault of each failed row; such a row, and one that is
            not decoded, is null in all columns.

        Raises:
            ValueError: The texts could have more than MAX_BATCH_BYTES together.
        """
        constants = len(bodies.entries) * self._program.longest * len(self._types)
        most = len(bodies.data) + constants
        if most > MAX_BATCH_BYTES:
            raise ValueError(f"{most} bytes in one batch; at most {MAX_BATCH_BYTES} are decoded")
        values, texts, failed = self._program.run(bodies, self._max_items)
        faults = self._program.faults(values, bodies.starts) if failed else {}
        return self._columns(values, texts), faults

    def read_one(self, body: bytes, steps: Sequence[Step]) -> dict[str, Column]:
        """Decode one body; it is null in all columns after a fault."""
        data = np.frombuffer(body, np.uint8)
        start, end, entry = np.array([[0], [len(body)], [self.add(steps)]])
        return self.read(Bodies(data, start, end, entry))[0]

    def _columns(self, values: Values, texts: Bytes) -> dict[str, Column]:
        data, offsets = pa.py_buffer(texts), iter(values.offsets)
        columns = {}
        slots = zip(self._types, values.longs, values.present, strict=True)
        for (path, kind, scale), column, present in slots:
            own: Any = column
            match kind:
                case Kind.STRING:
                    bounds = pa.py_buffer(next(offsets))
                    own = pa.StringArray.from_buffers(len(column), bounds, data)
                case Kind.DOUBLE:
                    own = column.view(np.float64)
                case Kind.BOOL:
                    own = column.astype(np.bool_)
            columns[path] = Column(kind, own, present, scale)
        return columns
