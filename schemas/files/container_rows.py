"""Read container bodies one by one within bounds, for schemas that do not bound their memory."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import numpy as np

from base.arrays import Bytes
from base.errors import ErrorCode, RecordError
from schemas.avro import steps as plan
from schemas.avro.kernel.codes import UNBOUNDED
from schemas.avro.kernel.structs import Bodies, Values
from schemas.avro.program import DecoderProgram
from schemas.avro.resolution import skip_value
from schemas.avro.steps import Step
from schemas.avro.types import Field, Type
from schemas.fastavro_schema import FastavroSchema, decimals

MAX_ITEMS: Final = 10_000
"""Maximum items of an array or map; the same as the default of ``wire.max_collection_items``."""

_PASSED_LEVELS: Final = 100_000
_NONE: Final = b"\0"
_PASSABLE: Final = {ErrorCode.NESTED_TOO_DEEP, ErrorCode.COLLECTION_TOO_LONG}


@dataclass(frozen=True, slots=True)
class Lost:
    """Fault of a body whose end is unknown, so that the start of the next body is unknown too."""

    message: str


class BlockReader:
    """Read the values of dotted names from each body, and skip all other values.

    The bytes of these values are concatenated to the body of a flat record that fastavro decodes.
    """

    def __init__(self, tree: Type, names: Collection[str]) -> None:
        """Prepare the steps of a schema.

        Args:
            tree: Writer schema of the container.
            names: Dotted names of leaves, or of values of a map.
        """
        layout = _Layout(names)
        steps = layout.steps(tree, "")
        self._prefixes = layout.prefixes
        self._slots = layout.slots
        self._program = DecoderProgram(len(self._prefixes))
        self._reading = self._program.add(steps, whole=False)
        self._passing = self._program.add(skip_value(tree, ""), whole=False)
        schema = FastavroSchema(layout.record(), decimals)
        self._schema = fastavro.parse_schema(schema.json)
        schema.restore(self._schema)

    def read(self, data: bytes, rows: int) -> Iterator[dict[str, Any] | RecordError | Lost]:
        """Read ``rows`` bodies from the beginning of ``data``; stop after a ``Lost``."""
        view = np.frombuffer(data, np.uint8)
        position = 0
        for _ in range(rows):
            start, end, entry = np.array([[position], [len(data)], [self._reading]])
            values, _, _ = self._program.run(Bodies(view, start, end, entry), MAX_ITEMS)
            fault = self._program.faults(values, start).get(0)
            if fault is not None:
                position = self._passed(fault.code, view, position)
                error = fault.as_record_error()
                if position < 0:
                    yield Lost(error.message)
                    return
                yield error
            else:
                position = int(values.faults[0, 2])
                yield self._values(self._flat(data, values))

    def _passed(self, code: ErrorCode, view: Bytes, position: int) -> int:
        """Return the end of a body that exceeds the bounds, but is valid otherwise; else -1."""
        if code not in _PASSABLE:
            return -1
        start, end, entry = np.array([[position], [len(view)], [self._passing]])
        # Without a limit of levels, a body could take hundreds of times its own size in memory.
        values, _, _ = self._program.run(Bodies(view, start, end, entry), UNBOUNDED, _PASSED_LEVELS)
        number, _, position = values.faults[0].tolist()
        return -1 if number else position

    def _flat(self, data: bytes, values: Values) -> bytes:
        """Concatenate the kept values to the body of the flat record."""
        body = []
        for slots in self._slots.values():
            kept = [slot for slot in slots if values.present[slot, 0]]
            for slot in kept:
                begin, length = int(values.longs[slot, 0]), int(values.lengths[slot, 0])
                body += [self._prefixes[slot], data[begin : begin + length]]
            body += [] if kept else [_NONE]
        return b"".join(body)

    def _values(self, body: bytes) -> dict[str, Any]:
        record: Any = fastavro.schemaless_reader(
            io.BytesIO(body), self._schema, None, handle_unicode_errors="surrogateescape"
        )
        return {
            path: None if held is None else held["v"]
            for path, held in zip(self._slots, record.values(), strict=True)
        }


class _Layout:
    """Flat record of the values in use: for each path a union of null and the possible types.

    Attributes:
        slots: Slots of each path, one for each possible type; the flat record has these paths.
        prefixes: Bytes of the flat record before the value of each slot.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._maps = {name.rpartition(".")[0] for name in names}
        self._above = {above for name in names for above in _prefixes(name)}
        self._types: list[Type] = []
        self.slots: dict[str, list[int]] = {}
        self.prefixes: list[bytes] = []

    def steps(self, declared: Type, path: str) -> list[Step]:
        """Steps through a value that store the parts in use and skip the rest."""
        here = declared.unfolded
        skip = skip_value(declared, path)
        used = path in self._names
        match here.base:
            case "union":
                branches = (tuple(self.steps(branch, path)) for branch in here.branches)
                return [plan.Branch(path, tuple(branches))]
            case "record" if not path or path in self._above:
                placed: list[Step] = [self._keep(path, _NO_VALUE, ())] if used else []
                for item in here.fields:
                    placed += self.steps(item.type, f"{path}.{item.name}" if path else item.name)
                return placed
            case "map" if path in self._maps and is_bounded(here):
                return [self._keep(path, here, skip)]
            case "record" | "array" | "map" if used:
                return [self._keep(path, _NO_VALUE, ()), *skip]
            case "null":
                return []
            case _:
                return [self._keep(path, here, skip)] if used else skip

    def record(self) -> Type:
        """The flat record. Each value is in its own record: a union cannot contain a union."""
        fields = (
            Field(f"f{number}", Type("union", branches=(Type("null"), *map(self._boxed, slots))))
            for number, slots in enumerate(self.slots.values())
        )
        return Type("record", fields=tuple(fields))

    def _keep(self, path: str, declared: Type, steps: Sequence[Step]) -> plan.Keep:
        """Step that keeps the value that ``steps`` skip; _NO_VALUE is kept as an empty array."""
        slots, slot = self.slots.setdefault(path, []), len(self._types)
        slots.append(slot)
        self._types.append(declared)
        self.prefixes.append(_varint(len(slots)) + (_NONE if declared is _NO_VALUE else b""))
        return plan.Keep(path, slot, tuple(steps))

    def _boxed(self, slot: int) -> Type:
        return Type("record", fields=(Field("v", self._types[slot]),))


_NO_VALUE: Final = Type("array", item=Type("null"))
"""Sentinel for a value that is not a single value: an array, or a record beside a used branch."""


def is_bounded(declared: Type) -> bool:
    """Return True if the size and schema of an encoded value bound its memory and stack.

    An array whose items take no bytes can declare billions of items, and a record that contains
    itself can exhaust the stack.
    """
    inner = [*declared.branches, *(item.type for item in declared.fields)]
    if declared.item is not None:
        if declared.base == "array" and not _takes_bytes(declared.item):
            return False
        inner.append(declared.item)
    return declared.base != "recursive" and all(map(is_bounded, inner))


def _takes_bytes(declared: Type) -> bool:
    match declared:
        case Type(base="null") | Type(base="fixed", size=0):
            return False
        case Type(base="record"):
            return any(_takes_bytes(item.type) for item in declared.fields)
        case _:
            return True


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _varint(number: int) -> bytes:
    """Encode a number above 0 as an Avro long."""
    value, written = number << 1, bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
